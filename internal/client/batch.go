package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Workspace is where a person's or team's clusters and jobs are.
type Workspace struct {
	Client *Client
	ID     string
}

// Workspace names a workspace of a resource group. It need not exist yet.
func (c *Client) Workspace(group, name string) Workspace {
	return Workspace{c, c.Group(group) + "/providers/Microsoft.BatchAI/workspaces/" + name}
}

// ClusterID is the id of a cluster by its name, or by its id.
func (w Workspace) ClusterID(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return w.ID + "/clusters/" + name
}

// JobID is the id of a job by its name, or by EXPERIMENT/NAME, or by its id.
func (w Workspace) JobID(experiment, name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	if exp, job, ok := strings.Cut(name, "/"); ok {
		experiment, name = exp, job
	}
	return w.ID + "/experiments/" + experiment + "/jobs/" + name
}

// Problem is why something failed, or is not as it should be.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Name, Value string
	} `json:"details"`
}

// Job is a job. Its JSON is the API's own, in full.
type Job struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Cluster    struct{ ID string }
		NodeCount  int
		Priority   string    `json:"schedulingPriority"`
		State      string    `json:"executionState"`
		Created    time.Time `json:"creationTime"`
		Since      time.Time `json:"executionStateTransitionTime"`
		OutPrefix  string    `json:"stdOutErrPathPrefix"`
		OutSegment string    `json:"jobOutputDirectoryPathSegment"`
		Info       struct {
			Start    time.Time `json:"startTime"`
			End      time.Time `json:"endTime"`
			ExitCode *int      `json:"exitCode"`
			Errors   []Problem `json:"errors"`
		} `json:"executionInfo"`
	} `json:"properties"`

	raw json.RawMessage
}

// Ended tells that the job's state will not change any more.
func (j *Job) Ended() bool {
	return j.Properties.State == "succeeded" || j.Properties.State == "failed"
}

// Experiment is the experiment that the job is in.
func (j *Job) Experiment() string { return segment(j.ID, "experiments") }

// UnmarshalJSON keeps what it reads.
func (j *Job) UnmarshalJSON(b []byte) error {
	type plain Job
	j.raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*plain)(j))
}

// MarshalJSON gives what was read.
func (j Job) MarshalJSON() ([]byte, error) { return rawOr(j.raw), nil }

// Cluster is a cluster. Its JSON is the API's own, in full.
type Cluster struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Size       string `json:"vmSize"`
		Priority   string `json:"vmPriority"`
		Allocation string `json:"allocationState"`
		Nodes      int    `json:"currentNodeCount"`
		Scale      struct {
			Manual *struct {
				Target int `json:"targetNodeCount"`
			} `json:"manual"`
			Auto *struct {
				Minimum int `json:"minimumNodeCount"`
				Maximum int `json:"maximumNodeCount"`
			} `json:"autoScale"`
		} `json:"scaleSettings"`
		User struct {
			Name string `json:"adminUserName"`
		} `json:"userAccountSettings"`
		Counts struct {
			Idle      int `json:"idleNodeCount"`
			Running   int `json:"runningNodeCount"`
			Preparing int `json:"preparingNodeCount"`
			Unusable  int `json:"unusableNodeCount"`
			Leaving   int `json:"leavingNodeCount"`
		} `json:"nodeStateCounts"`
		Errors []Problem `json:"errors"`
	} `json:"properties"`

	raw json.RawMessage
}

// UnmarshalJSON keeps what it reads.
func (c *Cluster) UnmarshalJSON(b []byte) error {
	type plain Cluster
	c.raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*plain)(c))
}

// MarshalJSON gives what was read.
func (c Cluster) MarshalJSON() ([]byte, error) { return rawOr(c.raw), nil }

func rawOr(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// segment is the name after a kind in a resource id.
func segment(id, kind string) string {
	parts := strings.Split(id, "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], kind) {
			return parts[i+1]
		}
	}
	return ""
}

// Login is where a node is reached by ssh.
type Login struct {
	Node    string  `json:"nodeId"`
	Address string  `json:"ipAddress"`
	Port    float64 `json:"port"`
}

// Job reads a job.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	var j Job
	return &j, c.call(ctx, http.MethodGet, id, nil, &j)
}

// AwaitJob reads a job when its state is another than that of seen, or after a while. It costs the server nothing to wait.
func (c *Client) AwaitJob(ctx context.Context, id string, seen *Job) (*Job, error) {
	const patience = 30
	asked := time.Now()
	var j Job
	prefer := fmt.Sprint("wait=", patience)
	if seen != nil {
		prefer += ", seen=" + seen.Properties.State
	}
	err := c.call(ctx, http.MethodGet, id, nil, &j, "Prefer", prefer)
	if err == nil && seen != nil && j.Properties.State == seen.Properties.State {
		// A server that does not wait is not to be asked all the time.
		err = rest(ctx, min(time.Second, max(0, 500*time.Millisecond-time.Since(asked))))
	}
	return &j, err
}

// Cluster reads a cluster.
func (c *Client) Cluster(ctx context.Context, id string) (*Cluster, error) {
	var cl Cluster
	return &cl, c.call(ctx, http.MethodGet, id, nil, &cl)
}

// Clusters lists the workspace's clusters; none if there is no such workspace.
func (w Workspace) Clusters(ctx context.Context) ([]Cluster, error) {
	all, err := list[Cluster](ctx, w.Client, http.MethodGet, w.ID+"/clusters")
	if NotFound(err) {
		return []Cluster{}, nil
	}
	return all, err
}

// Jobs lists the workspace's jobs, of one experiment or (with "") of all, oldest first within an experiment.
func (w Workspace) Jobs(ctx context.Context, experiment string) ([]Job, error) {
	experiments := []string{experiment}
	if experiment == "" {
		found, err := list[struct{ Name string }](ctx, w.Client, http.MethodGet, w.ID+"/experiments")
		if NotFound(err) {
			return []Job{}, nil
		}
		if err != nil {
			return nil, err
		}
		experiments = nil
		for _, e := range found {
			experiments = append(experiments, e.Name)
		}
	}
	all := []Job{}
	for _, e := range experiments {
		jobs, err := list[Job](ctx, w.Client, http.MethodGet, w.ID+"/experiments/"+e+"/jobs")
		if err != nil && !NotFound(err) {
			return nil, err
		}
		all = append(all, jobs...)
	}
	return all, nil
}

// Logins lists where the nodes of a cluster, or of a job, are reached by ssh.
func (c *Client) Logins(ctx context.Context, id string) ([]Login, error) {
	return list[Login](ctx, c, http.MethodPost, id+"/listRemoteLoginInformation")
}

// Terminate asks to end a job.
func (c *Client) Terminate(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, id+"/terminate", nil, nil)
}

// File is one of a job's output files.
type File struct {
	Name       string `json:"name"`
	Type       string `json:"fileType"` // file, directory
	URL        string `json:"downloadUrl"`
	Properties struct {
		Length int64 `json:"contentLength"`
	} `json:"properties"`
}

// Files lists files of a job's output directory; "stdouterr" is the one of its standard output.
func (c *Client) Files(ctx context.Context, job, output, dir string) ([]File, error) {
	q := url.Values{"outputdirectoryid": {output}, "directory": {dir}, "linkexpiryinminutes": {"60"}, "maxresults": {"1000"}}
	return list[File](ctx, c, http.MethodPost, job+"/listOutputFiles?"+q.Encode())
}
