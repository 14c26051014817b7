package batch

import (
	"context"
	"errors"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// jobShown are a job's properties that lido computes; clients send them back.
var jobShown = []string{"toolType", "executionState", "executionStateTransitionTime", "executionInfo"}

func (r *Room) admitJob(_ context.Context, a *arm.Admission) error {
	props := prepare(a, jobShown...)
	props["jobOutputDirectoryPathSegment"] = keptOr(a, "experiments/", "jobOutputDirectoryPathSegment")
	var wish struct{ Properties job }
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	j := &wish.Properties
	if err := first(noVaults(props, "properties"), jobDefaults(j, props)); err != nil {
		return err
	}
	if a.Old != nil { // its cluster may be gone by now
		props["cluster"] = keptCluster(a, props["cluster"])
		return r.unchanged(a, jobSecrets, "The job '%s' exists already, and jobs cannot be changed. Delete it, or give the other job another name.")
	}
	c, err := r.jobCluster(a, j, props)
	if err != nil {
		return err
	}
	a.Refs = []string{}
	return first(checkJob(j, c), serverRefs(a, &j.Mounts, "properties.mountVolumes."))
}

// keptCluster returns the stored mention of a job's cluster, if another one differs only in casing.
func keptCluster(a *arm.Admission, sent any) any {
	var stored struct{ Properties struct{ Cluster ref } }
	id, _ := member(sent, "id").(string)
	if arm.Decode(a.Old.Desired, &stored) == nil && strings.EqualFold(stored.Properties.Cluster.ID, id) {
		return map[string]any{"id": stored.Properties.Cluster.ID}
	}
	return sent
}

func jobDefaults(j *job, props map[string]any) error {
	if err := oneOf("properties.schedulingPriority", &j.Priority, "normal", "low", "high"); err != nil {
		return err
	}
	if j.Constraints.Limit == "" {
		j.Constraints.Limit = "P7D"
	}
	if _, ok := parseDuration(j.Constraints.Limit); !ok {
		return invalid("properties.constraints.maxWallClockTime", "it is a positive duration in ISO 8601 such as PT1H30M or P7D")
	}
	props["schedulingPriority"] = j.Priority
	props["constraints"] = map[string]any{"maxWallClockTime": j.Constraints.Limit}
	return nil
}

// jobCluster finds a job's cluster, and writes its id as the cluster's own document has it.
func (r *Room) jobCluster(a *arm.Admission, j *job, props map[string]any) (*cluster, error) {
	const at = "properties.cluster.id"
	if j.Cluster.ID == "" {
		return nil, missing(at)
	}
	id := arm.ParsePath(j.Cluster.ID)
	if !strings.EqualFold(id.Type(), TypeCluster) || id.IsCollection() {
		return nil, invalid(at, "it is the id of a cluster")
	}
	d, err := a.Tx.Get(id.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.BadRequest("ClusterNotFound", at, "The cluster '%s' does not exist.", j.Cluster.ID)
	}
	if err != nil {
		return nil, err
	}
	if d.Deleting {
		return nil, arm.Conflict("ClusterIsBeingDeleted", "The cluster '%s' is being deleted; it takes no jobs.", id.Name()).At(at)
	}
	if err := sameLocation(a, d); err != nil {
		return nil, err
	}
	j.Cluster.ID = d.ID
	props["cluster"] = map[string]any{"id": d.ID}
	var wish struct{ Properties cluster }
	err = arm.Decode(d.Desired, &wish)
	return &wish.Properties, err
}

// sameLocation refuses a cluster in a workspace of another location.
func sameLocation(a *arm.Admission, c *store.Doc) error {
	own, other := workspaceOf(a.ID.String()), workspaceOf(c.ID)
	if own == other {
		return nil
	}
	var locations [2]string
	for i, key := range []string{own, other} {
		w, err := a.Tx.Get(key)
		if err != nil {
			return err
		}
		var wish struct{ Location string }
		if err := arm.Decode(w.Desired, &wish); err != nil {
			return err
		}
		locations[i] = wish.Location
	}
	if locations[0] != locations[1] {
		return arm.BadRequest("ClusterInAnotherLocation", "properties.cluster.id", "The job's workspace is in location '%s', its cluster in '%s'. They must be in one.", locations[0], locations[1])
	}
	return nil
}

func checkJob(j *job, c *cluster) error {
	if err := first(checkNodeCount(j, c), checkToolkit(j)); err != nil {
		return err
	}
	return first(
		checkMountVolumes(&j.Mounts, "properties.mountVolumes."),
		checkPath(j.OutPrefix, "properties.stdOutErrPathPrefix", &c.Setup.Mounts, &j.Mounts),
		checkDirectories(j, &c.Setup.Mounts), checkScripts(j, &c.Setup.Mounts),
		checkVariables("properties.", j.Env, j.Secrets), checkContainerSettings(j.Container), checkPreparation(j))
}

func checkNodeCount(j *job, c *cluster) error {
	const at = "properties.nodeCount"
	if j.NodeCount < 1 {
		return invalid(at, "a job runs on one node or more")
	}
	most := arm.Int(maxNodes)
	if c.Scale.Auto != nil {
		most = c.Scale.Auto.Maximum
	}
	if j.NodeCount > most {
		return arm.BadRequest("JobNodeCountExceedsClusterSize", at, "The job asks for %d nodes; its cluster grows to %d.", j.NodeCount, most)
	}
	return nil
}

// checkDirectories checks input and output directories.
func checkDirectories(j *job, ofCluster *mountVolumes) error {
	id := func(id, at string, seen map[string]bool) error {
		switch {
		case id == "":
			return missing(at + ".id")
		case !idRule.MatchString(id):
			return invalid(at+".id", "ids have 1 to 64 letters, digits and '_': a variable is named after them")
		case seen[id]:
			return arm.BadRequest("DuplicateDirectoryId", at+".id", "The id '%s' is given to two directories.", id)
		}
		seen[id] = true
		return nil
	}
	ins, outs := map[string]bool{}, map[string]bool{}
	return first(
		each(j.Inputs, "properties.inputDirectories", func(d *inputDir, at string) error {
			return first(id(d.ID, at, ins), checkPath(d.Path, at+".path", ofCluster, &j.Mounts))
		}),
		each(j.Outputs, "properties.outputDirectories", func(d *outputDir, at string) error {
			if strings.HasPrefix(d.Suffix, "/") || relative(d.Suffix) != strings.Trim(d.Suffix, "/") {
				return invalid(at+".pathSuffix", "it is a relative path without '..'")
			}
			return first(id(d.ID, at, outs), checkPath(d.Prefix, at+".pathPrefix", ofCluster, &j.Mounts))
		}))
}

func checkContainerSettings(c *container) error {
	const at = "properties.containerSettings."
	switch {
	case c == nil:
		return nil
	case c.Source.Image == "":
		return missing(at + "imageSourceRegistry.image")
	case strings.ContainsAny(c.Source.Image, " \t\n"):
		return invalid(at+"imageSourceRegistry.image", "it is the name of an image such as ubuntu:22.04")
	case c.ShmSize != "" && !shmRule.MatchString(c.ShmSize):
		return invalid(at+"shmSize", "it is a size such as 64m or 2g")
	}
	if cred := c.Source.Credentials; cred != nil {
		if cred.Username == "" {
			return missing(at + "imageSourceRegistry.credentials.username")
		}
		if cred.Password == "" {
			return missing(at + "imageSourceRegistry.credentials.password")
		}
	}
	return nil
}

func checkPreparation(j *job) error {
	if j.Preparation != nil && strings.TrimSpace(j.Preparation.CommandLine) == "" {
		return missing("properties.jobPreparation.commandLine")
	}
	return nil
}
