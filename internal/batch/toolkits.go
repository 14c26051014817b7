package batch

// usedToolkit is a toolkit that a job names.
type usedToolkit struct {
	property string // of the job
	tool     string // toolType
}

// used returns the toolkits that a job names; one is right.
func (t *toolkits) used() []usedToolkit {
	var used []usedToolkit
	for _, k := range []struct {
		set            bool
		property, tool string
	}{
		{t.CNTK != nil, "cntkSettings", "cntk"}, {t.PyTorch != nil, "pyTorchSettings", "pytorch"},
		{t.TensorFlow != nil, "tensorFlowSettings", "tensorflow"}, {t.Caffe != nil, "caffeSettings", "caffe"},
		{t.Caffe2 != nil, "caffe2Settings", "caffe2"}, {t.Chainer != nil, "chainerSettings", "chainer"},
		{t.Custom != nil, "customToolkitSettings", "custom"}, {t.CustomMPI != nil, "customMpiSettings", "custommpi"},
		{t.Horovod != nil, "horovodSettings", "horovod"},
	} {
		if k.set {
			used = append(used, usedToolkit{k.property, k.tool})
		}
	}
	return used
}
