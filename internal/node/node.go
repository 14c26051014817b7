// Package node is what a batch cluster's node and its host say to each other: the host sends tasks, the node's agent
// runs them and reports. Agent is the program in the node (`lido node`), Hub its other end on the host.
//
// The agent connects to the machine's own socket (machine.GuestDir/host.sock, POST /v1/node, upgraded to a stream of
// JSON values in both directions), says Hello with all it knows, and then reports each change of a task. It goes on
// without the host: tasks run on while lido is down, and what ended meanwhile is in the next Hello. A task's report is
// kept until the host says that it may be forgotten.
//
// A task is run at most once by an agent: one with an id that it knows is not started again. An agent that was
// started anew (its machine was rebooted, or it crashed) has another Instance and knows nothing; what ran there is lost.
package node

import "time"

// Task is a process tree to run in a node.
type Task struct {
	ID  string `json:"id"`  // unique for all time: a task is never run twice
	Job string `json:"job"` // whom it belongs to; the tasks of a job in a node share a cgroup that is accounted

	Mounts []Mount  `json:"mounts,omitempty"` // made before the command, in order; they stay until Unmount names them
	Dirs   []string `json:"dirs,omitempty"`   // directories that must exist, made as the user
	Files  []File   `json:"files,omitempty"`  // written before the command

	Command string            `json:"command,omitempty"` // for /bin/bash -c; none means that mounts and directories are all
	User    string            `json:"user,omitempty"`    // name in the node; empty means root
	Env     map[string]string `json:"env,omitempty"`     // added to a login's small default
	Dir     string            `json:"dir,omitempty"`     // working directory; empty means the user's home
	Stdout  string            `json:"stdout,omitempty"`  // path in the node, appended to; empty means kept (its end) in the report
	Stderr  string            `json:"stderr,omitempty"`
	Log     string            `json:"log,omitempty"` // path of execution.log, where the agent writes what it did; may be empty

	Container *Container    `json:"container,omitempty"` // the root to run in; nil means the node's own
	Grace     time.Duration `json:"grace,omitempty"`     // between TERM and KILL when it is stopped; 0 means 10 s
	Limit     time.Duration `json:"limit,omitempty"`     // it is stopped after so long; 0 means never

	Unmount []string `json:"unmount,omitempty"` // targets unmounted when the command has ended (for a job's last task)
}

// Mount is something to mount in the node. Its secrets are for the agent alone.
type Mount struct {
	Kind     string `json:"kind"`   // cifs, blob, server or command
	Source   string `json:"source"` // cifs: //ACCOUNT.file.SUFFIX/SHARE; command: the command line
	Target   string `json:"target"` // absolute path in the node
	Options  string `json:"options,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// File is a small file in the node, such as a host file.
type File struct {
	Path string `json:"path"`
	Data string `json:"data"`
	Mode uint32 `json:"mode,omitempty"` // 0 means 0644
	User string `json:"user,omitempty"` // owner; empty means root
}

// Container is a root file system to run a task in. It shares the node's network; Binds appear at the same paths.
type Container struct {
	Image   string            `json:"image"` // as the job names it, for messages
	Root    string            `json:"root"`  // where the node finds the image's read-only root directory
	Env     map[string]string `json:"env,omitempty"`
	User    string            `json:"user,omitempty"` // of the image's configuration; empty means root
	Dir     string            `json:"dir,omitempty"`
	Binds   []string          `json:"binds,omitempty"`
	ShmSize int64             `json:"shmSize,omitempty"` // bytes of /dev/shm; 0 means 64 MiB
}

// Why an agent stopped a task.
const (
	StopAsked = "asked"
	StopLimit = "limit"
)

// Codes of failures.
const (
	MountFailed     = "MountFailed"
	DirectoryFailed = "DirectoryFailed"
	StartFailed     = "StartFailed"
	OutputFailed    = "OutputFailed"
)

// State is where a task is in its life.
type State string

// The states of a task.
const (
	Starting State = "starting" // mounts, directories
	Running  State = "running"
	Ended    State = "ended"
)

// Report is what an agent knows of a task.
type Report struct {
	ID    string    `json:"id"`
	Job   string    `json:"job"`
	State State     `json:"state"`
	Start time.Time `json:"start,omitzero"` // of the command
	End   time.Time `json:"end,omitzero"`

	ExitCode int    `json:"exitCode"`          // of the command; 128 + n if signal n ended it
	Stopped  string `json:"stopped,omitempty"` // why the agent stopped it: asked, limit
	Failure  string `json:"failure,omitempty"` // a sentence, if the command could not be run: what failed and why
	Code     string `json:"code,omitempty"`    // of the failure: MountFailed, DirectoryFailed, StartFailed, OutputFailed
	Full     string `json:"full,omitempty"`    // path of a file that cannot grow, for its file system is full: what the command wrote last may be missing there
	Output   string `json:"output,omitempty"`  // the end of what it wrote if it had no Stdout and Stderr, or of Stderr if it failed

	Usage Usage `json:"usage,omitzero"`
}

// Usage is what the processes of all of a job's tasks in this node took up to now, counted by their cgroup as far as the
// kernel can, and else as seen of the processes.
type Usage struct {
	CPU        time.Duration `json:"cpu,omitempty"`
	PeakMemory int64         `json:"peakMemory,omitempty"` // bytes; cgroups count the cache of its files, too
	Read       int64         `json:"read,omitempty"`       // bytes from disks
	Written    int64         `json:"written,omitempty"`    // bytes to disks, also those still on their way
}

// Hello is the first thing that an agent says on a connection.
type Hello struct {
	Instance string    `json:"instance"` // of this agent process; another one means that earlier tasks are lost
	Started  time.Time `json:"started"`
	Booted   time.Time `json:"booted"` // when the machine was booted
	Tasks    []Report  `json:"tasks,omitempty"`
}

// Order is what the host asks of an agent; one field is set.
type Order struct {
	Run    *Task    `json:"run,omitempty"`
	Stop   string   `json:"stop,omitempty"`   // a task's id: TERM, then KILL after its grace, to its whole tree
	Forget []string `json:"forget,omitempty"` // reports that are not needed any more; tasks that run are killed first

	// Instance, if set, is the agent that the order is meant for; another one does not obey it. So a task cannot reach
	// an agent whose Hello was not heard yet and would seem to be lost.
	Instance string `json:"instance,omitempty"`
}

// Message is what an agent says; one field is set.
type Message struct {
	Hello  *Hello  `json:"hello,omitempty"`
	Report *Report `json:"report,omitempty"`
}
