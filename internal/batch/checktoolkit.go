package batch

import (
	"strings"

	"lido.dev/lido/internal/arm"
)

// checkToolkit checks that a job names one toolkit, and that it has what it needs.
func checkToolkit(j *job) error {
	used := j.used()
	switch len(used) {
	case 0:
		return arm.BadRequest("NoToolkitSpecified", "properties", "The job names no toolkit. Give one of customToolkitSettings, customMpiSettings, horovodSettings, tensorFlowSettings, pyTorchSettings, cntkSettings, caffeSettings, caffe2Settings, chainerSettings.")
	case 1:
	default:
		return arm.BadRequest("MultipleToolkitsSpecified", "properties."+used[1].property, "The job names two toolkits, %s and %s. Give one.", used[0].property, used[1].property)
	}
	at := "properties." + used[0].property + "."
	switch {
	case j.Custom != nil:
		return checkCommand(j.Custom, at)
	case j.CustomMPI != nil:
		return checkCommand(j.CustomMPI, at)
	case j.TensorFlow != nil:
		return checkTensorFlow(j, at)
	}
	return checkScript(j, at)
}

func checkCommand(c *commandToolkit, at string) error {
	if strings.TrimSpace(c.CommandLine) == "" {
		return missing(at + "commandLine")
	}
	return checkProcesses(c.Processes, at+"processCount")
}

// maxProcesses is far above what a cluster can run.
const maxProcesses = 1 << 20

func checkProcesses(n arm.Int, at string) error {
	if n < 0 || n > maxProcesses {
		return invalid(at, "it is a positive number; leave it out for the toolkit's default")
	}
	return nil
}

func checkTensorFlow(j *job, at string) error {
	t := j.TensorFlow
	switch {
	case t.Script == "":
		return missing(at + "pythonScriptFilePath")
	case t.Servers < 0 || t.Servers > j.NodeCount:
		return invalid(at+"parameterServerCount", "it is at most the job's nodeCount (%d)", j.NodeCount)
	}
	return checkProcesses(t.Workers, at+"workerCount")
}

// checkScript checks a toolkit that runs a script.
func checkScript(j *job, at string) error {
	s := j.scriptToolkit()
	switch {
	case j.CNTK != nil:
		if err := checkCNTK(s, at); err != nil {
			return err
		}
	case j.Caffe != nil:
		if (s.Script == "") == (s.ConfigFile == "") {
			return invalid(at+"configFilePath", "Caffe runs a configFilePath or a pythonScriptFilePath: give one of them")
		}
	case s.Script == "":
		return missing(at + "pythonScriptFilePath")
	}
	if j.PyTorch != nil && s.Backend != "" {
		backend := s.Backend
		if err := oneOf(at+"communicationBackend", &backend, "gloo", "nccl", "mpi", "tcp"); err != nil {
			return err
		}
	}
	return checkProcesses(s.Processes, at+"processCount")
}

func checkCNTK(s *scriptToolkit, at string) error {
	lang := s.Language
	if lang == "" && s.ConfigFile == "" {
		lang = "Python"
	}
	if err := oneOf(at+"languageType", &lang, "BrainScript", "Python"); err != nil {
		return err
	}
	if lang == "Python" && s.Script == "" {
		return missing(at + "pythonScriptFilePath")
	}
	if lang == "BrainScript" && s.ConfigFile == "" {
		return missing(at + "configFilePath")
	}
	return nil
}

// scriptToolkit returns the settings of the toolkit, if it is one that runs a script; nil if it is another.
func (t *toolkits) scriptToolkit() *scriptToolkit {
	for _, s := range []*scriptToolkit{t.CNTK, t.PyTorch, t.Caffe, t.Caffe2, t.Chainer, t.Horovod} {
		if s != nil {
			return s
		}
	}
	return nil
}

// checkScripts checks that scripts lie in what is mounted, or in an input directory that there is.
func checkScripts(j *job, ofCluster *mountVolumes) error {
	at := "properties." + j.used()[0].property + "."
	script, config := "", ""
	if s := j.scriptToolkit(); s != nil {
		script, config = s.Script, s.ConfigFile
	} else if j.TensorFlow != nil {
		script = j.TensorFlow.Script
	}
	return first(j.checkScriptPath(script, at+"pythonScriptFilePath", ofCluster), j.checkScriptPath(config, at+"configFilePath", ofCluster))
}

func (j *job) checkScriptPath(p, at string, ofCluster *mountVolumes) error {
	for _, v := range mountVariables {
		if strings.HasPrefix(p, v.text+"/") {
			return checkPath(p, at, ofCluster, &j.Mounts)
		}
	}
	rest, is := strings.CutPrefix(strings.Replace(p, "${", "$", 1), "$AZ_BATCHAI_INPUT_")
	if !is {
		return nil
	}
	id, _, _ := strings.Cut(rest, "/")
	id = strings.TrimSuffix(id, "}")
	for _, d := range j.Inputs {
		if d.ID == id {
			return nil
		}
	}
	return arm.BadRequest("InputDirectoryNotFound", at, "The path '%s' is in the input directory '%s', which the job does not have.", p, id)
}
