package batch

import (
	"net/url"
	"path"
	"strings"
)

// volume is one mounted file system of a cluster or job; one field is set.
type volume struct {
	share     *fileShare
	container *blobContainer
	server    *fileServerUse
	unmanaged *unmanagedMount
}

// volumes are what is mounted, with the property that names each.
func (m *mountVolumes) volumes() []volume {
	var all []volume
	for i := range m.Shares {
		all = append(all, volume{share: &m.Shares[i]})
	}
	for i := range m.Containers {
		all = append(all, volume{container: &m.Containers[i]})
	}
	for i := range m.Servers {
		all = append(all, volume{server: &m.Servers[i]})
	}
	for i := range m.Unmanaged {
		all = append(all, volume{unmanaged: &m.Unmanaged[i]})
	}
	return all
}

// at returns where a volume is mounted, relative to its mount root: "afs", "data/in".
func (v volume) at() string {
	p := ""
	switch {
	case v.share != nil:
		p = v.share.Path
	case v.container != nil:
		p = v.container.Path
	case v.server != nil:
		p = v.server.Path
	case v.unmanaged != nil:
		p = v.unmanaged.Path
	}
	return relative(p)
}

// relative cleans a path so that it stays below where it begins: "a/../../b/" is "b". "" means that place itself.
func relative(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// shareName returns the share that an azureFileUrl names, and the directory in it, if it names one.
func (s *fileShare) shareName() (share, dir string) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", ""
	}
	share, dir, _ = strings.Cut(relative(u.Path), "/")
	return share, dir
}

// place is a path in a mounted volume.
type place struct {
	volume
	rel string // in the volume; "" is its top
}

// mountVariables are the ways to write the two mount roots, longest first.
var mountVariables = []struct {
	text string
	job  bool // the job's own mounts
}{
	{"${AZ_BATCHAI_JOB_MOUNT_ROOT}", true}, {"$AZ_BATCHAI_JOB_MOUNT_ROOT", true},
	{"${AZ_BATCHAI_MOUNT_ROOT}", false}, {"$AZ_BATCHAI_MOUNT_ROOT", false},
}

// locate finds the volume that a path of a cluster or job lies in. ok is false if the path is in none of them.
func locate(p string, ofCluster, ofJob *mountVolumes) (at place, ok bool) {
	for _, v := range mountVariables {
		if rest, is := strings.CutPrefix(p, v.text); is && (rest == "" || rest[0] == '/') {
			if v.job {
				return longest(ofJob, relative(rest))
			}
			return longest(ofCluster, relative(rest))
		}
	}
	if clean := path.Clean(p); strings.HasPrefix(clean, mountRoot+"/") {
		return longest(ofCluster, strings.TrimPrefix(clean, mountRoot+"/"))
	}
	return place{}, false
}

// longest returns the innermost volume that a path lies in.
func longest(m *mountVolumes, p string) (best place, ok bool) {
	if m == nil {
		return place{}, false
	}
	for _, v := range m.volumes() {
		at := v.at()
		if at == "" || p != at && !strings.HasPrefix(p, at+"/") || ok && len(at) <= len(best.at()) {
			continue
		}
		best, ok = place{v, relative(p[len(at):])}, true
	}
	return best, ok
}

// outputPath returns the path, with its variables, of one of a job's output directories: "stdouterr" or an id of
// outputDirectories.
func (j *job) outputPath(id string) (string, bool) {
	if strings.EqualFold(id, "stdouterr") {
		return j.OutPrefix + "/" + j.Segment + "/stdouterr", true
	}
	for _, o := range j.Outputs {
		if o.ID == id {
			return strings.TrimSuffix(o.Prefix+"/"+j.Segment+"/outputs/"+o.Suffix, "/"), true
		}
	}
	return "", false
}
