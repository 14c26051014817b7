package batch

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// clusterShown are a cluster's properties that lido computes; clients send them back.
var clusterShown = []string{"allocationState", "allocationStateTransitionTime", "currentNodeCount", "nodeStateCounts", "errors"}

// maxNodes is the most nodes that a cluster can be asked for.
const maxNodes = 10000

func (r *Room) admitCluster(_ context.Context, a *arm.Admission) error {
	props := prepare(a, clusterShown...)
	if err := replaceScale(a, props); err != nil {
		return err
	}
	var wish struct{ Properties cluster }
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	c := &wish.Properties
	defaultImage(c, props)
	if a.Old == nil { // later on they may be gone from the catalogue, and the cluster may still be scaled
		if err := first(r.checkSize(c.VMSize, "properties.vmSize"), r.checkImage(&c.VM.Image)); err != nil {
			return err
		}
	}
	if err := first(noVaults(props, "properties"), checkCluster(c, props), r.clusterRefs(a, c)); err != nil {
		return err
	}
	if task, ok := member(member(props, "nodeSetup"), "setupTask").(map[string]any); ok {
		task["stdOutErrPathSuffix"] = keptOr(a, "clusters/", "nodeSetup", "setupTask", "stdOutErrPathSuffix")
	}
	return r.onlyScale(a)
}

// replaceScale makes a PATCH replace the scale settings whole: they are either manual or automatic.
func replaceScale(a *arm.Admission, props map[string]any) error {
	if !a.Patch {
		return nil
	}
	sent, err := a.Request.BodyMap()
	if err != nil {
		return err
	}
	if scale, ok := member(sent["properties"], "scaleSettings").(map[string]any); ok {
		props["scaleSettings"] = scale
	}
	return nil
}

// prepare takes what lido computes out of a wish, notes who has it, and returns its properties.
func prepare(a *arm.Admission, shown ...string) map[string]any {
	props := properties(a.Body)
	for _, k := range append(shown, "creationTime", "provisioningStateTransitionTime") {
		delete(props, k)
	}
	a.Body[submittedBy] = a.Request.Caller.Name
	if a.Old != nil {
		a.Body[submittedBy] = submitter(a.Old)
	}
	return props
}

// member returns a member of a decoded object, or nil.
func member(v any, key string) any {
	m, _ := v.(map[string]any)
	return m[key]
}

// keptOr returns a path segment that was stored at a place in the properties, or a new one.
func keptOr(a *arm.Admission, kind string, at ...string) string {
	if a.Old != nil {
		stored := map[string]any{}
		if arm.Decode(a.Old.Desired, &stored) == nil {
			v := stored["properties"]
			for _, k := range at {
				v = member(v, k)
			}
			if s, ok := v.(string); ok && s != "" {
				return s
			}
		}
	}
	n := namesOf(a.ID.String())
	p := n.Subscription + "/" + n.Group + "/workspaces/" + n.Workspace + "/" + kind + n.Parent
	if n.Job != "" {
		p += "/jobs/" + n.Job
	}
	return p + "/" + uuid.NewString()
}

// defaultImage is the service's: Ubuntu.
func defaultImage(c *cluster, props map[string]any) {
	if c.VM.Image != (imageReference{}) {
		return
	}
	c.VM.Image = imageReference{Publisher: "Canonical", Offer: "UbuntuServer", SKU: "16.04-LTS", Version: "latest"}
	props["virtualMachineConfiguration"] = map[string]any{"imageReference": map[string]any{
		"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}}
}

func checkCluster(c *cluster, props map[string]any) error {
	if err := first(oneOf("properties.vmPriority", &c.VMPriority, "dedicated", "lowpriority"),
		checkScale(&c.Scale), checkUser(&c.User, "properties.userAccountSettings"),
		checkMountVolumes(&c.Setup.Mounts, "properties.nodeSetup.mountVolumes."), checkSetup(&c.Setup)); err != nil {
		return err
	}
	if c.SlotsPerNode < 0 || c.SlotsPerNode > 1024 {
		return invalid("properties.slotsPerNode", "a node runs 1 to 1024 jobs at a time")
	}
	props["vmPriority"], props["scaleSettings"] = c.VMPriority, shownScale(&c.Scale)
	return nil
}

func (r *Room) checkSize(size, at string) error {
	if size == "" {
		return missing(at)
	}
	if r.Size == nil {
		return nil
	}
	if _, ok := r.Size(size); !ok {
		return arm.BadRequest("InvalidVMSize", at, "The specified value '%s' for property '%s' is not a supported VM size. 'az vm list-sizes -l local' shows those that are.", size, at)
	}
	return nil
}

func (r *Room) checkImage(i *imageReference) error {
	const at = "properties.virtualMachineConfiguration.imageReference"
	if i.ID == "" {
		for name, v := range map[string]string{"publisher": i.Publisher, "offer": i.Offer, "sku": i.SKU} {
			if v == "" {
				return missing(at + "." + name)
			}
		}
	}
	if r.Image == nil {
		return nil
	}
	if err := r.Image(i.Publisher, i.Offer, i.SKU, string(i.Version), i.ID); err != nil {
		return arm.BadRequest("PlatformImageNotFound", at, "The image cannot be used: %v.", err)
	}
	return nil
}

// checkScale checks how many nodes are wished for, and writes the defaults.
func checkScale(s *scaleSettings) error {
	const at = "properties.scaleSettings"
	switch {
	case s.Manual != nil && s.Auto != nil:
		return arm.BadRequest("InvalidScaleSettings", at, "A cluster is scaled manually or automatically: give 'manual' or 'autoScale', not both.")
	case s.Auto != nil:
		return checkAuto(s.Auto, at+".autoScale.")
	case s.Manual == nil:
		s.Manual = &manualScale{}
	}
	if n := s.Manual.Target; n < 0 || n > maxNodes {
		return invalid(at+".manual.targetNodeCount", "a cluster has 0 to %d nodes", maxNodes)
	}
	return oneOf(at+".manual.nodeDeallocationOption", &s.Manual.Deallocation, "requeue", "terminate", "waitforjobcompletion")
}

func checkAuto(s *autoScale, at string) error {
	switch {
	case s.Minimum < 0 || s.Minimum > maxNodes:
		return invalid(at+"minimumNodeCount", "a cluster has 0 to %d nodes", maxNodes)
	case s.Maximum < s.Minimum || s.Maximum > maxNodes:
		return invalid(at+"maximumNodeCount", "it is at least minimumNodeCount (%d) and at most %d", s.Minimum, maxNodes)
	case s.Initial < 0 || s.Initial > s.Maximum:
		return invalid(at+"initialNodeCount", "it is at most maximumNodeCount (%d)", s.Maximum)
	}
	return nil
}

func shownScale(s *scaleSettings) map[string]any {
	if s.Auto != nil {
		return map[string]any{"autoScale": map[string]any{"minimumNodeCount": s.Auto.Minimum, "maximumNodeCount": s.Auto.Maximum, "initialNodeCount": s.Auto.Initial}}
	}
	return map[string]any{"manual": map[string]any{"targetNodeCount": s.Manual.Target, "nodeDeallocationOption": s.Manual.Deallocation}}
}

func checkUser(u *userAccount, at string) error {
	switch {
	case u.Name == "":
		return missing(at + ".adminUserName")
	case !userRule.MatchString(u.Name) || strings.EqualFold(u.Name, "root"):
		return invalid(at+".adminUserName", "it is the name of a Linux user (letters, digits, '_' and '-') other than root")
	case u.Password == "" && u.Key == "":
		return arm.BadRequest("InvalidUserAccountSettings", at, "The administrator needs a password or an SSH public key: give adminUserPassword or adminUserSshPublicKey.")
	case !isPlaceholder(u.Password) && strings.ContainsAny(u.Password, ":\n\x00"):
		return invalid(at+".adminUserPassword", "passwords have no ':' and no line breaks")
	case u.Key != "" && !isPlaceholder(u.Key) && !keyRule.MatchString(u.Key):
		return invalid(at+".adminUserSshPublicKey", "it is a public key as in a .pub file: 'ssh-ed25519 AAAA...'")
	}
	return nil
}

func checkSetup(s *nodeSetup) error {
	if s.Task == nil {
		return nil
	}
	const at = "properties.nodeSetup.setupTask."
	if strings.TrimSpace(s.Task.CommandLine) == "" {
		return missing(at + "commandLine")
	}
	return first(checkPath(s.Task.OutPrefix, at+"stdOutErrPathPrefix", &s.Mounts, nil), checkVariables(at, s.Task.Env, s.Task.Secrets))
}

// clusterRefs checks that what a cluster mentions is there.
func (r *Room) clusterRefs(a *arm.Admission, c *cluster) error {
	a.Refs = []string{}
	if c.Subnet != nil && c.Subnet.ID != "" {
		if err := subnetExists(a.Tx, c.Subnet.ID); err != nil {
			return err
		}
		a.Refs = append(a.Refs, c.Subnet.ID)
	}
	return serverRefs(a, &c.Setup.Mounts, "properties.nodeSetup.mountVolumes.")
}

func subnetExists(tx *store.Tx, id string) error {
	const at = "properties.subnet.id"
	p := arm.ParsePath(id)
	if !strings.EqualFold(p.Type(), "Microsoft.Network/virtualNetworks/subnets") || p.IsCollection() {
		return invalid(at, "it is the id of a subnet")
	}
	absent := arm.BadRequest("SubnetNotFound", at, "The subnet '%s' does not exist.", id)
	d, err := tx.Get(p.Parent().String())
	if errors.Is(err, store.ErrNotFound) {
		return absent
	}
	if err != nil {
		return err
	}
	var net struct {
		Properties struct{ Subnets []struct{ Name string } }
	}
	if err := arm.Decode(d.Desired, &net); err != nil {
		return err
	}
	for _, s := range net.Properties.Subnets {
		if strings.EqualFold(s.Name, p.Name()) {
			return nil
		}
	}
	return absent
}

// serverRefs checks that file servers exist, and mentions them.
func serverRefs(a *arm.Admission, m *mountVolumes, at string) error {
	return each(m.Servers, at+"fileServers", func(s *fileServerUse, at string) error {
		d, err := a.Tx.Get(s.Server.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && (d.Deleting || !strings.EqualFold(d.Type, TypeFileServer)) {
			return arm.BadRequest("FileServerNotFound", at+".fileServer.id", "The file server '%s' does not exist.", s.Server.ID)
		}
		if err == nil {
			a.Refs = append(a.Refs, d.ID)
		}
		return err
	})
}

// onlyScale refuses to change anything of a cluster but its scale.
func (r *Room) onlyScale(a *arm.Admission) error {
	if a.Old == nil {
		return nil
	}
	return r.unchanged(a, clusterSecrets, "The cluster '%s' exists already; only its scaleSettings can be changed. Delete it, or give the other cluster another name.", "scaleSettings")
}
