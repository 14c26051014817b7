// Package batch is Microsoft.BatchAI (api-version 2018-05-01): workspaces, clusters, file servers, experiments and jobs.
// A cluster is a set of machines that run jobs; a job runs on several of them at once.
//
// The documents are arm's. Two kinds of loops stand behind them: a cluster's controller makes and keeps its nodes, a
// job's is placed by the cluster's gang.Queue and carried out by the nodes' agents (package node). See DESIGN.md.
package batch

import (
	"time"

	"lido.dev/lido/internal/arm"
)

// The resource types.
const (
	TypeWorkspace  = "Microsoft.BatchAI/workspaces"
	TypeCluster    = "Microsoft.BatchAI/workspaces/clusters"
	TypeFileServer = "Microsoft.BatchAI/workspaces/fileServers"
	TypeExperiment = "Microsoft.BatchAI/workspaces/experiments"
	TypeJob        = "Microsoft.BatchAI/workspaces/experiments/jobs"
)

// ref is a mention of another resource.
type ref struct {
	ID string `json:"id"`
}

// cluster is a cluster's wish: the properties that lido understands. Values are admitted: defaults are written.
type cluster struct {
	VMSize     string        `json:"vmSize"`
	VMPriority string        `json:"vmPriority"` // dedicated, lowpriority
	Scale      scaleSettings `json:"scaleSettings"`
	VM         struct {
		Image imageReference `json:"imageReference"`
	} `json:"virtualMachineConfiguration"`
	Setup  nodeSetup   `json:"nodeSetup"`
	User   userAccount `json:"userAccountSettings"`
	Subnet *ref        `json:"subnet"`
	// SlotsPerNode is lido's own: how many jobs a node may run at a time. 0 means 1, as in Azure.
	SlotsPerNode arm.Int `json:"slotsPerNode"`
}

type scaleSettings struct {
	Manual *manualScale `json:"manual"`
	Auto   *autoScale   `json:"autoScale"`
}

type manualScale struct {
	Target       arm.Int `json:"targetNodeCount"`
	Deallocation string  `json:"nodeDeallocationOption"` // requeue, terminate, waitforjobcompletion
}

type autoScale struct {
	Minimum arm.Int `json:"minimumNodeCount"`
	Maximum arm.Int `json:"maximumNodeCount"`
	Initial arm.Int `json:"initialNodeCount"`
}

type imageReference struct {
	Publisher string     `json:"publisher"`
	Offer     string     `json:"offer"`
	SKU       string     `json:"sku"`
	Version   arm.String `json:"version"`
	ID        string     `json:"virtualMachineImageId"`
}

type userAccount struct {
	Name     string `json:"adminUserName"`
	Password string `json:"adminUserPassword"`
	Key      string `json:"adminUserSshPublicKey"`
}

type nodeSetup struct {
	Task   *setupTask   `json:"setupTask"`
	Mounts mountVolumes `json:"mountVolumes"`
}

type setupTask struct {
	CommandLine string     `json:"commandLine"`
	Env         []variable `json:"environmentVariables"`
	Secrets     []variable `json:"secrets"`
	OutPrefix   string     `json:"stdOutErrPathPrefix"`
}

type variable struct {
	Name  string     `json:"name"`
	Value arm.String `json:"value"`
}

type mountVolumes struct {
	Shares     []fileShare      `json:"azureFileShares"`
	Containers []blobContainer  `json:"azureBlobFileSystems"`
	Servers    []fileServerUse  `json:"fileServers"`
	Unmanaged  []unmanagedMount `json:"unmanagedFileSystems"`
}

type credentials struct {
	Key string `json:"accountKey"`
}

type fileShare struct {
	Account     string      `json:"accountName"`
	URL         string      `json:"azureFileUrl"`
	Credentials credentials `json:"credentials"`
	Path        string      `json:"relativeMountPath"`
	FileMode    string      `json:"fileMode"`
	DirMode     string      `json:"directoryMode"`
}

type blobContainer struct {
	Account     string      `json:"accountName"`
	Container   string      `json:"containerName"`
	Credentials credentials `json:"credentials"`
	Path        string      `json:"relativeMountPath"`
	Options     string      `json:"mountOptions"`
}

type fileServerUse struct {
	Server    ref    `json:"fileServer"`
	SourceDir string `json:"sourceDirectory"`
	Path      string `json:"relativeMountPath"`
	Options   string `json:"mountOptions"`
}

type unmanagedMount struct {
	Command string `json:"mountCommand"`
	Path    string `json:"relativeMountPath"`
}

// job is a job's wish.
type job struct {
	Priority    string       `json:"schedulingPriority"` // low, normal, high
	Cluster     ref          `json:"cluster"`
	Mounts      mountVolumes `json:"mountVolumes"`
	NodeCount   arm.Int      `json:"nodeCount"`
	Container   *container   `json:"containerSettings"`
	Preparation *struct {
		CommandLine string `json:"commandLine"`
	} `json:"jobPreparation"`
	OutPrefix   string      `json:"stdOutErrPathPrefix"`
	Inputs      []inputDir  `json:"inputDirectories"`
	Outputs     []outputDir `json:"outputDirectories"`
	Env         []variable  `json:"environmentVariables"`
	Secrets     []variable  `json:"secrets"`
	Constraints constraints `json:"constraints"`
	// Segment is written at admission: {sub}/{group}/workspaces/{ws}/experiments/{exp}/jobs/{job}/{uuid}.
	Segment string `json:"jobOutputDirectoryPathSegment"`

	toolkits
}

type constraints struct {
	Limit string `json:"maxWallClockTime"` // ISO 8601; default P7D
}

// toolkits: exactly one is set.
type toolkits struct {
	CNTK       *scriptToolkit     `json:"cntkSettings"`
	PyTorch    *scriptToolkit     `json:"pyTorchSettings"`
	TensorFlow *tensorFlowToolkit `json:"tensorFlowSettings"`
	Caffe      *scriptToolkit     `json:"caffeSettings"`
	Caffe2     *scriptToolkit     `json:"caffe2Settings"`
	Chainer    *scriptToolkit     `json:"chainerSettings"`
	Custom     *commandToolkit    `json:"customToolkitSettings"`
	CustomMPI  *commandToolkit    `json:"customMpiSettings"`
	Horovod    *scriptToolkit     `json:"horovodSettings"`
}

// scriptToolkit is a toolkit that runs a Python script (or a configuration file) in several processes.
type scriptToolkit struct {
	Language    string  `json:"languageType"`   // CNTK: BrainScript, Python
	ConfigFile  string  `json:"configFilePath"` // CNTK, Caffe
	Script      string  `json:"pythonScriptFilePath"`
	Interpreter string  `json:"pythonInterpreterPath"`
	Args        string  `json:"commandLineArgs"`
	Processes   arm.Int `json:"processCount"`         // 0 means the toolkit's default
	Backend     string  `json:"communicationBackend"` // PyTorch: gloo, nccl, mpi, tcp
}

type commandToolkit struct {
	CommandLine string  `json:"commandLine"`
	Processes   arm.Int `json:"processCount"`
}

type tensorFlowToolkit struct {
	Script      string  `json:"pythonScriptFilePath"`
	Interpreter string  `json:"pythonInterpreterPath"`
	MasterArgs  string  `json:"masterCommandLineArgs"`
	WorkerArgs  string  `json:"workerCommandLineArgs"`
	ServerArgs  string  `json:"parameterServerCommandLineArgs"`
	Workers     arm.Int `json:"workerCount"`
	Servers     arm.Int `json:"parameterServerCount"`
}

type container struct {
	Source struct {
		Server      string `json:"serverUrl"`
		Image       string `json:"image"`
		Credentials *struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"credentials"`
	} `json:"imageSourceRegistry"`
	ShmSize string `json:"shmSize"` // as docker's --shm-size: 64m, 2g
}

type inputDir struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

type outputDir struct {
	ID     string `json:"id"`
	Prefix string `json:"pathPrefix"`
	Suffix string `json:"pathSuffix"`
}

// Problem is an entry of executionInfo.errors or of a cluster's errors: a BatchAIError.
type Problem struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Details []variable `json:"details,omitempty"`
}

// The execution states of a job.
const (
	stateQueued      = "queued"
	stateRunning     = "running"
	stateTerminating = "terminating"
	stateSucceeded   = "succeeded"
	stateFailed      = "failed"
)

// jobStatus is the status half of a job's document, written by the job's runner alone.
type jobStatus struct {
	arm.Status
	State      string    `json:"executionState"` // "" counts as queued
	StateSince time.Time `json:"executionStateTransitionTime,omitzero"`
	Start      time.Time `json:"startTime,omitzero"` // of the attempt that ran last
	End        time.Time `json:"endTime,omitzero"`
	ExitCode   *int      `json:"exitCode,omitempty"`
	Errors     []Problem `json:"errors,omitempty"` // why it failed; of a queued job, why it was put back or waits
	Attempt    int       `json:"attempt,omitempty"`
	Nodes      []placed  `json:"nodes,omitempty"` // where the attempt runs, or ran
	Terminate  time.Time `json:"terminate,omitzero"`
	EndWhy     *Problem  `json:"endWhy,omitempty"`  // why it is terminated, if no person asked for it
	PutBack    *Problem  `json:"putBack,omitempty"` // why a running job is to go back to the queue
	Retries    int       `json:"retries,omitempty"` // attempts that were lost with a node
}

// placed is a node that a job was given. A node whose agent's instance is another by now has lost the job's tasks.
type placed struct {
	Node     string `json:"node"`
	Instance string `json:"instance"`
	Address  string `json:"address"`
	Machine  string `json:"machine"` // the engine's id
}

// nodeState is one of the five states that a cluster counts.
type nodeState string

const (
	nodePreparing nodeState = "preparing"
	nodeIdle      nodeState = "idle"
	nodeRunning   nodeState = "running"
	nodeUnusable  nodeState = "unusable"
	nodeLeaving   nodeState = "leaving"
)

// nodeInfo is a node as its cluster's controller knows it.
type nodeInfo struct {
	Name     string    `json:"name"`    // the machine's host name; nodeId to clients
	Machine  string    `json:"machine"` // the engine's id
	Address  string    `json:"address"` // in the cluster's network
	Login    string    `json:"login"`   // address and port for ssh from outside, by the cluster's load balancer
	Port     int       `json:"port"`
	State    nodeState `json:"state"`              // idle in a document also if it has a job
	Reason   *Problem  `json:"reason,omitempty"`   // always there if the node is unusable
	Instance string    `json:"instance"`           // of its agent; "" if it is not connected
	Started  time.Time `json:"started"`            // of the machine
	Prepared string    `json:"prepared,omitempty"` // the boot that was set up: equals boot() once the node may work
	Lost     bool      `json:"lost,omitempty"`     // it has no job and gets none; it is kept until a fresh one is tried in its place
}

// crashes are losses of nodes whose machines stopped soon after their start, in a row.
type crashes struct {
	Count   int       `json:"count"`
	At      time.Time `json:"at"`      // of the last that was counted
	RetryAt time.Time `json:"retryAt"` // when a fresh node is tried in the place of those that were lost
	Last    Problem   `json:"last"`
}

// clusterStatus is the status half of a cluster's document, written by the cluster's controller alone.
type clusterStatus struct {
	arm.Status
	Allocation      string     `json:"allocationState"` // steady, resizing
	AllocationSince time.Time  `json:"allocationStateTransitionTime,omitzero"`
	Target          int        `json:"target"` // nodes wanted now: what the person asked for, or what autoscaling decided
	Nodes           []nodeInfo `json:"nodes,omitempty"`
	Errors          []Problem  `json:"errors,omitempty"`
	SetupFailures   int        `json:"setupFailures,omitempty"` // in a row
	RetryAt         time.Time  `json:"retryAt,omitzero"`        // when a fresh node is tried after one
	LastFailure     *Problem   `json:"lastFailure,omitempty"`   // of these: shown while fresh nodes are tried
	Crashes         *crashes   `json:"crashes,omitempty"`
}
