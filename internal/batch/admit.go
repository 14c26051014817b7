package batch

import (
	"context"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

func (r *Room) admitCluster(_ context.Context, a *arm.Admission) error {
	stripShown(a)
	return nil
}

func (r *Room) admitJob(_ context.Context, a *arm.Admission) error {
	stripShown(a)
	props := properties(a.Body)
	id := a.ID
	n := namesOf(id.String())
	props["jobOutputDirectoryPathSegment"] = n.Subscription + "/" + n.Group + "/workspaces/" + n.Workspace + "/experiments/" + n.Parent + "/jobs/" + n.Job + "/" + uuid.NewString()
	return nil
}

func (r *Room) admitFileServer(_ context.Context, a *arm.Admission) error {
	stripShown(a)
	return nil
}

func stripShown(a *arm.Admission) {
	a.Body[submittedBy] = a.Request.Caller.Name
	for _, k := range []string{"creationTime", "provisioningStateTransitionTime"} {
		delete(properties(a.Body), k)
	}
	_, _ = time.Now, store.Key
}

type mountsOf func(body map[string]any) (mountVolumes, string, error)

func jobMounts(body map[string]any) (mountVolumes, string, error)     { return mountVolumes{}, "", nil }
func clusterMounts(body map[string]any) (mountVolumes, string, error) { return mountVolumes{}, "", nil }

func (r *Room) checkingMounts(put arm.Handler, of mountsOf) arm.Handler { return put }

func (r *Room) listOutputFiles(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	return arm.Page([]int{}), nil
}

func (r *Room) usages(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page([]int{}), nil
}

func listOperations(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page([]int{}), nil
}
