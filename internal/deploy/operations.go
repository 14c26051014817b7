package deploy

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// ofDeployment is the deployment that a path of operations is about, in either form of such paths.
func ofDeployment(id arm.ID) arm.ID {
	if sameType(id.Namespace+"/"+id.Types[0], TypeDeployment) {
		id.Types, id.Names = id.Types[:1], id.Names[:1]
		return id
	}
	return arm.ResourceID(id.Names[0], id.Names[1], TypeDeployment, id.Names[2])
}

// operations reads what came of each resource of a deployment, in the order in which they were begun.
func (m *Room) operations(ctx context.Context, id arm.ID) ([]map[string]any, error) {
	var tasks []task
	var d *store.Doc
	err := m.store.View(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.Get(id.String()); err != nil {
			return deploymentNotFound(err, id)
		}
		entries, err := tx.ListKV(bucketTasks + statusOf(d).Run)
		for _, e := range entries {
			var t task
			if err := json.Unmarshal(e.Value, &t); err != nil {
				return err
			}
			tasks = append(tasks, t)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(tasks, func(a, b task) int { return a.Started.Compare(b.Started) })
	items := []map[string]any{}
	for _, t := range tasks {
		items = append(items, shownTask(d, t))
	}
	return items, nil
}

func shownTask(d *store.Doc, t task) map[string]any {
	props := map[string]any{"provisioningOperation": "Create", "provisioningState": t.State, "timestamp": t.Started.Format(timeForm),
		"duration": "PT0S", "trackingId": statusOf(d).CorrelationID, "statusCode": nil, "statusMessage": nil}
	if !t.Ended.IsZero() {
		props["timestamp"], props["duration"] = t.Ended.Format(timeForm), isoDuration(t.Ended.Sub(t.Started))
	}
	if t.Status > 0 {
		props["statusCode"] = strings.ReplaceAll(http.StatusText(t.Status), " ", "")
	}
	if t.Error != nil {
		props["statusMessage"] = map[string]any{"error": t.Error, "status": arm.Failed}
	}
	if t.Type == "" {
		props["provisioningOperation"] = "EvaluateDeploymentOutput"
	} else {
		props["targetResource"] = basic(t.ID, t.Type, t.Name)
	}
	return map[string]any{"id": d.ID + "/operations/" + t.Operation, "operationId": t.Operation, "properties": props}
}

func (m *Room) listOperations(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	items, err := m.operations(ctx, ofDeployment(r.ID))
	if err != nil {
		return nil, err
	}
	return filtered(r, arm.Page(items))
}

func (m *Room) getOperation(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	items, err := m.operations(ctx, ofDeployment(r.ID))
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if sameType(item["operationId"].(string), r.ID.Name()) {
			return arm.OK(item), nil
		}
	}
	return nil, arm.Errorf(http.StatusNotFound, "DeploymentOperationNotFound", "The deployment operation '%s' could not be found.", r.ID.Name())
}
