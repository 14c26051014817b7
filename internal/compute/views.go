package compute

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// viewStatus is one line of an instance view: a code, a sentence and a time.
type viewStatus struct {
	Code    string     `json:"code"`
	Level   string     `json:"level"`
	Display string     `json:"displayStatus"`
	Message string     `json:"message,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
}

func newStatus(code, level, display, message string, at time.Time) viewStatus {
	s := viewStatus{Code: code, Level: level, Display: display, Message: message}
	if !at.IsZero() {
		s.Time = &at
	}
	return s
}

// renderView shows an instance's state in Azure's form. progress is what goes on with its image, or "".
func renderView(d *store.Doc, w *wish, st *status, m *machine.Info, progress string) map[string]any {
	statuses := []viewStatus{provisioningStatus(d, st, progress)}
	if p, ok := powerStatus(w, st, m); ok {
		statuses = append(statuses, p)
	}
	view := map[string]any{
		"platformUpdateDomain": w.Number % 5, "platformFaultDomain": w.Number % 5,
		"computerName": w.Computer, "statuses": statuses, "disks": []any{},
		"vmAgent": agentView(st, m), "hyperVGeneration": "V1",
	}
	if st.Image != nil {
		view["osName"] = st.Image.Distribution
	}
	if ext := extensionViews(st); len(ext) > 0 {
		view["extensions"] = ext
	}
	return view
}

func provisioningStatus(d *store.Doc, st *status, progress string) viewStatus {
	state := instanceState(d, st)
	at := st.ChangedAt
	if at.IsZero() {
		at = d.CreatedAt
	}
	code := "ProvisioningState/" + strings.ToLower(state)
	switch {
	case state == arm.Failed:
		message := ""
		if st.Error != nil {
			code, message = code+"/"+st.Error.Code, st.Error.Message
		}
		return newStatus(code, "Error", "Provisioning failed", message, cmp.Or(st.FailedAt, at))
	case state == arm.Succeeded:
		message := ""
		if st.Image != nil {
			message = st.Image.Substitution
		}
		return newStatus(code, "Info", "Provisioning succeeded", message, at)
	}
	message := progress
	switch e := runningExtension(st); {
	case st.Error != nil:
		message = "Trying again: " + st.Error.Message
	case e != nil:
		message = "The extension '" + e.Name + "' is running."
	case st.Draining:
		message = "No new connections come in; its sessions may end before it is deleted."
	}
	return newStatus(code, "Info", state, message, at)
}

func runningExtension(st *status) *extensionStatus {
	i := slices.IndexFunc(st.Extensions, func(e extensionStatus) bool { return e.State == extRunning })
	if i < 0 {
		return nil
	}
	return &st.Extensions[i]
}

// powerStatus is what the machine itself does. An instance without a machine has none, unless it is deallocated.
func powerStatus(w *wish, st *status, m *machine.Info) (viewStatus, bool) {
	switch {
	case m == nil && w.Power != PowerOn:
		return newStatus("PowerState/"+string(w.Power), "Info", "VM "+string(w.Power), "", st.PowerAt), true
	case m == nil:
		return viewStatus{}, false
	case m.State == machine.Running && w.Power != PowerOn:
		return newStatus("PowerState/"+map[Power]string{PowerOff: "stopping", PowerDeallocated: "deallocating"}[w.Power], "Info", "VM stopping", "", m.StartedAt), true
	case m.State == machine.Running:
		return newStatus("PowerState/running", "Info", "VM running", "", m.StartedAt), true
	case m.State == machine.Created:
		return newStatus("PowerState/starting", "Info", "VM starting", "", st.ChangedAt), true
	case m.State == machine.Failed:
		return newStatus("PowerState/stopped", "Error", "VM stopped", m.Reason, m.StoppedAt), true
	case w.Power == PowerDeallocated:
		return newStatus("PowerState/deallocated", "Info", "VM deallocated", "", m.StoppedAt), true
	}
	return newStatus("PowerState/stopped", "Info", "VM stopped", m.Reason, m.StoppedAt), true
}

func agentView(st *status, m *machine.Info) map[string]any {
	s := newStatus("ProvisioningState/succeeded", "Info", "Ready", "Guest Agent is running", st.PowerAt)
	if m == nil || m.State != machine.Running {
		s = newStatus("ProvisioningState/Unavailable", "Warning", "Not Ready", "The machine does not run.", st.PowerAt)
	}
	return map[string]any{"vmAgentVersion": "lido", "statuses": []viewStatus{s}, "extensionHandlers": []any{}}
}

func extensionViews(st *status) []any {
	var out []any
	for _, e := range st.Extensions {
		out = append(out, map[string]any{"name": e.Name, "statuses": []viewStatus{extensionStatusView(e)}})
	}
	return out
}

func extensionStatusView(e extensionStatus) viewStatus {
	switch e.State {
	case extSucceeded:
		return newStatus("ProvisioningState/succeeded", "Info", "Provisioning succeeded", e.Message, e.Time)
	case extNotRun:
		return newStatus("ProvisioningState/succeeded", "Warning", "Not run", e.Message, e.Time)
	case extFailed:
		code := "ProvisioningState/failed"
		if e.ExitCode > 0 {
			code += "/" + itoa(e.ExitCode)
		}
		return newStatus(code, "Error", "Provisioning failed", e.Message, e.Time)
	}
	return newStatus("ProvisioningState/transitioning", "Info", "Transitioning", e.Message, e.Time)
}

// summary counts codes, as a set's instance view shows them.
func summary(counts map[string]int) []map[string]any {
	out := []map[string]any{}
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, map[string]any{"code": code, "count": counts[code]})
	}
	return out
}

// renderSetView shows the state of a set.
func renderSetView(d *store.Doc, instances []map[string]any, progress string) (map[string]any, error) {
	var st setStatus
	if err := json.Unmarshal(d.Status, &st); err != nil {
		return nil, err
	}
	codes, extensions := map[string]int{}, map[string]map[string]int{}
	for _, view := range instances {
		for _, s := range view["statuses"].([]viewStatus) {
			codes[s.Code]++
		}
		list, _ := view["extensions"].([]any)
		for _, e := range list {
			e := e.(map[string]any)
			name := e["name"].(string)
			if extensions[name] == nil {
				extensions[name] = map[string]int{}
			}
			extensions[name][e["statuses"].([]viewStatus)[0].Code]++
		}
	}
	ext := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		ext = append(ext, map[string]any{"name": name, "statusesSummary": summary(extensions[name])})
	}
	return map[string]any{
		"virtualMachine": map[string]any{"statusesSummary": summary(codes)},
		"extensions":     ext, "statuses": []viewStatus{setStatusView(d, &st, progress)},
	}, nil
}

func setStatusView(d *store.Doc, st *setStatus, progress string) viewStatus {
	at := cmp.Or(st.ChangedAt, d.CreatedAt)
	switch {
	case d.Deleting:
		return newStatus("ProvisioningState/deleting", "Info", "Deleting", "", d.ChangedAt)
	case st.Settled < d.Generation:
		return newStatus("ProvisioningState/updating", "Info", "Updating", progress, d.ChangedAt)
	case st.Error != nil:
		return newStatus("ProvisioningState/failed/"+st.Error.Code, "Error", "Provisioning failed", st.Error.Message, at)
	}
	return newStatus("ProvisioningState/succeeded", "Info", "Provisioning succeeded", "", at)
}
