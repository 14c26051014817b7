package batch

// Where things are in a node. Azure's own places, so that scripts with paths in them run.
const (
	nodeRoot  = "/mnt/batch/tasks/shared/LS_root"
	mountRoot = nodeRoot + "/mounts" // $AZ_BATCHAI_MOUNT_ROOT
	jobsRoot  = nodeRoot + "/jobs"
)
