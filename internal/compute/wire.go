package compute

import (
	"context"
	"encoding/json"
	"strconv"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// renderSet adds to a set what lido knows of it.
func (r *Room) renderSet(_ context.Context, _ *store.Tx, d *store.Doc, body map[string]any) error {
	props := at(body, "properties")
	props["uniqueId"], props["timeCreated"] = d.UID, d.CreatedAt
	if p := asMap(props["virtualMachineProfile"]); p != nil {
		p["timeCreated"] = d.CreatedAt
	}
	return nil
}

// frame is what the documents of one set's instances share, read once.
type frame struct {
	doc      *store.Doc
	set      set
	current  string                    // hash of the set's model
	raw      map[string]map[string]any // models by hash
	machines map[string]machine.Info   // by machine id; nil if views are not asked for
}

func (r *Room) frame(ctx context.Context, tx *store.Tx, setID arm.ID) (*frame, error) {
	d, err := tx.Get(setID.String())
	if err != nil {
		return nil, notFound(err, setID)
	}
	f := &frame{doc: d, raw: map[string]map[string]any{}}
	if err := json.Unmarshal(d.Desired, &f.set); err != nil {
		return nil, err
	}
	f.current, err = modelHash(d.Desired)
	return f, err
}

// model returns a model as its readers see it, without what is never shown.
func (f *frame) model(tx *store.Tx, hash string) (map[string]any, error) {
	if m := f.raw[hash]; m != nil {
		return m, nil
	}
	m, err := rawModelOf(tx, f.doc.ID, hash)
	if err != nil {
		return nil, err
	}
	if os := at(m, "profile", "osProfile"); os != nil {
		delete(os, "adminPassword")
		delete(os, "customData")
	}
	f.raw[hash] = m
	return m, nil
}

// record is an instance's document, read.
type record struct {
	*store.Doc
	wish   wish
	status status
}

func readRecord(d *store.Doc) (*record, error) {
	r := &record{Doc: d}
	if err := json.Unmarshal(d.Desired, &r.wish); err != nil {
		return nil, err
	}
	return r, json.Unmarshal(d.Status, &r.status)
}

// renderInstance returns an instance as its readers see it.
func (f *frame) renderInstance(tx *store.Tx, r *record) (map[string]any, error) {
	d, w, st := r.Doc, &r.wish, &r.status
	m, err := f.model(tx, w.Model)
	if err != nil {
		return nil, err
	}
	setID := arm.ParsePath(f.doc.ID)
	name := setID.Name() + "_" + strconv.Itoa(w.Number)
	body := map[string]any{
		"id": d.ID, "name": name, "type": TypeInstance, "etag": `"` + d.Etag + `"`,
		"instanceId": strconv.Itoa(w.Number), "location": m["location"], "sku": m["sku"],
		"properties": f.instanceProperties(d, w, st, m, name),
	}
	if m["plan"] != nil {
		body["plan"] = m["plan"]
	}
	if f.set.Tags != nil {
		body["tags"] = f.set.Tags
	}
	if ext := renderExtensions(d, st, m); len(ext) > 0 {
		body["resources"] = ext
	}
	return body, nil
}

func (f *frame) instanceProperties(d *store.Doc, w *wish, st *status, m map[string]any, name string) map[string]any {
	profile := asMap(m["profile"])
	p := map[string]any{
		"vmId": d.UID, "latestModelApplied": w.Model == f.current && st.Serial == w.Serial, "modelDefinitionApplied": "VirtualMachineScaleSet",
		"provisioningState": instanceState(d, st), "timeCreated": d.CreatedAt,
		"hardwareProfile": map[string]any{"vmSize": at(m, "sku")["name"]},
		"storageProfile":  storageOf(profile, st, name), "osProfile": osOf(profile, w),
		"networkProfile":              map[string]any{"networkInterfaces": nicsOf(d.ID, profile)},
		"networkProfileConfiguration": profile["networkProfile"],
	}
	if w.Protection != nil {
		p["protectionPolicy"] = w.Protection
	}
	return p
}

func storageOf(profile map[string]any, st *status, name string) map[string]any {
	disk := map[string]any{"osType": "Linux", "createOption": "FromImage", "caching": "None"}
	for k, v := range at(profile, "storageProfile", "osDisk") {
		disk[k] = v
	}
	disk["name"] = name + "_OsDisk_1"
	image := map[string]any{}
	for k, v := range at(profile, "storageProfile", "imageReference") {
		image[k] = v
	}
	if st.Image != nil && st.Image.Version != "" {
		image["exactVersion"] = st.Image.Version
	}
	return map[string]any{"imageReference": image, "osDisk": disk, "dataDisks": []any{}}
}

func osOf(profile map[string]any, w *wish) map[string]any {
	os := map[string]any{}
	for k, v := range at(profile, "osProfile") {
		if k != "computerNamePrefix" {
			os[k] = v
		}
	}
	linux := map[string]any{"disablePasswordAuthentication": false, "provisionVMAgent": true}
	for k, v := range asMap(os["linuxConfiguration"]) {
		linux[k] = v
	}
	os["linuxConfiguration"] = linux
	os["computerName"], os["secrets"], os["allowExtensionOperations"], os["requireGuestProvisionSignal"] = w.Computer, []any{}, true, true
	return os
}

func nicsOf(instanceID string, profile map[string]any) []any {
	out := []any{}
	list, _ := at(profile, "networkProfile")["networkInterfaceConfigurations"].([]any)
	for i, c := range list {
		name, _ := asMap(c)["name"].(string)
		primary := len(list) == 1 || i == 0
		out = append(out, map[string]any{"id": instanceID + "/networkInterfaces/" + name, "properties": map[string]any{"primary": primary}})
	}
	return out
}

// renderExtensions shows an instance's extensions as resources below it.
func renderExtensions(d *store.Doc, st *status, m map[string]any) []any {
	var out []any
	list, _ := at(m, "profile", "extensionProfile")["extensions"].([]any)
	for _, e := range list {
		e := asMap(e)
		name, _ := e["name"].(string)
		props := map[string]any{"provisioningState": "Creating"}
		for k, v := range asMap(e["properties"]) {
			if k != "protectedSettings" {
				props[k] = v
			}
		}
		if s := st.extension(name); s != nil {
			props["provisioningState"] = map[string]string{extRunning: "Creating", extSucceeded: arm.Succeeded, extFailed: arm.Failed, extNotRun: arm.Succeeded}[s.State]
		}
		out = append(out, map[string]any{"id": d.ID + "/extensions/" + name, "name": name, "type": "Microsoft.Compute/virtualMachines/extensions", "properties": props})
	}
	return out
}

// instanceState is an instance's provisioning state.
func instanceState(d *store.Doc, st *status) string {
	switch {
	case d.Deleting:
		return "Deleting"
	case st.ProvisioningState == arm.Failed && st.Attempts >= attemptsToFail:
		return arm.Failed // still tried, but nobody should wait for it
	case st.Settled == 0:
		return "Creating"
	case st.Settled < d.Generation:
		return "Updating"
	}
	return st.ProvisioningState
}

func notFound(err error, id arm.ID) error {
	if isNotFound(err) {
		return arm.NotFound(id)
	}
	return err
}
