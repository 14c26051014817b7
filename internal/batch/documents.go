package batch

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

var apiVersions = []string{"2018-05-01", "2018-03-01", "2017-09-01-preview"}

// nameRule is Batch AI's for all its resources.
var nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// clusterSecrets and jobSecrets are the values that are sealed and never returned.
var (
	clusterSecrets = []string{
		"properties.userAccountSettings.adminUserPassword", "properties.userAccountSettings.adminUserSshPublicKey",
		"properties.nodeSetup.setupTask.secrets[*].value",
		"properties.nodeSetup.mountVolumes.azureFileShares[*].credentials.accountKey",
		"properties.nodeSetup.mountVolumes.azureBlobFileSystems[*].credentials.accountKey",
		"properties.nodeSetup.performanceCountersSettings.appInsightsReference.instrumentationKey",
	}
	jobSecrets = []string{
		"properties.secrets[*].value",
		"properties.mountVolumes.azureFileShares[*].credentials.accountKey",
		"properties.mountVolumes.azureBlobFileSystems[*].credentials.accountKey",
		"properties.containerSettings.imageSourceRegistry.credentials.password",
	}
	fileServerSecrets = []string{
		"properties.sshConfiguration.userAccountSettings.adminUserPassword",
		"properties.sshConfiguration.userAccountSettings.adminUserSshPublicKey",
	}
)

// Types are the room's resource types. PUT never answers 201: the clients refuse it.
func (r *Room) Types() []arm.Type {
	document := func(d arm.Document) arm.Type {
		d.APIVersions, d.NameRule, d.Created = apiVersions, nameRule, http.StatusOK
		return r.Server.Document(d)
	}
	job := document(arm.Document{Name: TypeJob, NoLocation: true, Hidden: jobSecrets, Admit: r.admitJob, Render: r.renderJob, Later: jobLater,
		Actions: map[string]arm.Handler{"terminate": r.terminate, "listRemoteLoginInformation": r.jobLogins}})
	job.Patch = nil // as in Azure
	job.Put, job.Get = r.checkingFirst(job.Put, "properties.mountVolumes."), r.waiting(job.Get)
	cluster := document(arm.Document{Name: TypeCluster, NoLocation: true, Hidden: clusterSecrets, Admit: r.admitCluster, Render: r.renderCluster,
		Removing: clusterRemoving, Later: always, Actions: map[string]arm.Handler{"listRemoteLoginInformation": r.clusterLogins}})
	cluster.Put = r.checkingFirst(cluster.Put, "properties.nodeSetup.mountVolumes.")
	experiment := document(arm.Document{Name: TypeExperiment, NoLocation: true, Render: renderPlain, Later: r.notEmpty})
	experiment.Patch = nil
	server := document(arm.Document{Name: TypeFileServer, NoLocation: true, Hidden: fileServerSecrets, Admit: r.admitFileServer, Render: renderFileServer, Later: always})
	server.Patch = nil
	return []arm.Type{
		document(arm.Document{Name: TypeWorkspace, Render: renderPlain, Removing: workspaceRemoving, Later: r.notEmpty}),
		cluster, server, experiment, job,
		{Name: TypeJob + "/listOutputFiles", Hidden: true, APIVersions: apiVersions, Post: r.listOutputFiles, List: r.listOutputFiles},
		{Name: "Microsoft.BatchAI/locations/usages", Hidden: true, APIVersions: apiVersions, List: r.usages},
		{Name: "Microsoft.BatchAI/operations", Hidden: true, APIVersions: apiVersions, List: listOperations},
	}
}

// readCluster returns a cluster's wish with its secrets in clear, and what its controller wrote.
func readCluster(s *arm.Server, tx *store.Tx, d *store.Doc) (cluster, clusterStatus, error) {
	var wish struct{ Properties cluster }
	var st clusterStatus
	if err := s.Revealed(tx, d, &wish); err != nil {
		return cluster{}, st, fmt.Errorf("cluster %s: %w", d.ID, err)
	}
	return wish.Properties, st, arm.Decode(d.Status, &st)
}

// readJob returns a job's wish with its secrets in clear, and what its runner wrote.
func readJob(s *arm.Server, tx *store.Tx, d *store.Doc) (job, jobStatus, error) {
	var wish struct{ Properties job }
	var st jobStatus
	if err := s.Revealed(tx, d, &wish); err != nil {
		return job{}, st, fmt.Errorf("job %s: %w", d.ID, err)
	}
	if err := arm.Decode(d.Status, &st); err != nil {
		return job{}, st, err
	}
	if st.State == "" {
		st.State = stateQueued
	}
	return wish.Properties, st, nil
}

// ended tells whether a job's state is final.
func (st *jobStatus) ended() bool { return st.State == stateSucceeded || st.State == stateFailed }

// submittedBy is the key of a job's document (beside properties) that names who submitted it. It is never shown.
const submittedBy = "submittedBy"

// submitter returns who submitted a job or made a cluster: a user principal name, or an application's id.
func submitter(d *store.Doc) string {
	var wish struct {
		By string `json:"submittedBy"`
	}
	if arm.Decode(d.Desired, &wish) != nil {
		return ""
	}
	return wish.By
}

// bucketTerminate holds the wishes that a job ends before its time: the job's key -> termination. A wish is dropped
// when the job has ended.
const bucketTerminate = "batch terminate"

type termination struct {
	UID string    `json:"uid"` // of the job's document
	At  time.Time `json:"at"`
	By  string    `json:"by"`
}

// terminationOf returns the wish that a job ends; nil if nobody has it.
func terminationOf(tx *store.Tx, d *store.Doc) (*termination, error) {
	t := &termination{}
	err := tx.GetJSON(bucketTerminate, store.Key(d.ID), t)
	if errors.Is(err, store.ErrNotFound) || err == nil && t.UID != d.UID {
		return nil, nil
	}
	return t, err
}

// names are the parts of a resource's id: group, workspace, and below it cluster, file server or experiment, and job.
type names struct{ Subscription, Group, Workspace, Parent, Job string }

func namesOf(id string) names {
	p := arm.ParsePath(id)
	n := names{Subscription: p.Subscription(), Group: p.Group()}
	for i, to := range []*string{&n.Workspace, &n.Parent, &n.Job} {
		if i < len(p.Names) {
			*to = p.Names[i]
		}
	}
	return n
}

// workspaceOf returns the key of the workspace that a resource lies in.
func workspaceOf(id string) string {
	p := arm.ParsePath(id)
	for len(p.Types) > 1 {
		p = p.Parent()
	}
	return strings.ToLower(p.String())
}
