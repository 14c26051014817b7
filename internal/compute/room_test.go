package compute

import (
	"encoding/json"
	"strings"
	"testing"

	"lido.dev/lido/internal/machine/sim"
)

func TestSetLife(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.succeed(l.put(setPath, setBody(3, "")))

	set := l.get(setPath)
	if s := at(set, "properties")["provisioningState"]; s != "Succeeded" {
		t.Errorf("set is %v", s)
	}
	list := l.get(setPath + "/virtualMachines")
	if got := ids(list); got != "0 1 2" {
		t.Fatalf("instances: %s", got)
	}
	first := values(list)[0]
	props := first["properties"].(map[string]any)
	if first["name"] != "dsvm_0" || at(props, "osProfile")["computerName"] != "dsvm000000" || props["latestModelApplied"] != true || props["provisioningState"] != "Succeeded" {
		t.Errorf("instance: %v", first)
	}
	if b, _ := json.Marshal([]any{set, list}); strings.Contains(string(b), "Hush") || strings.Contains(string(b), "adminPassword") {
		t.Errorf("the password is shown: %s", b)
	}

	l.succeed(l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","tier":"Standard","capacity":5}}`))
	if got := ids(l.get(setPath + "/virtualMachines")); got != "0 1 2 3 4" {
		t.Errorf("after scale out: %s", got)
	}
	l.succeed(l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","tier":"Standard","capacity":1}}`))
	if got := ids(l.get(setPath + "/virtualMachines")); got != "0" {
		t.Errorf("after scale in: %s", got)
	}
	l.succeed(l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","tier":"Standard","capacity":2}}`))
	if got := ids(l.get(setPath + "/virtualMachines")); got != "0 5" {
		t.Errorf("numbers are used again: %s", got)
	}

	_, _, h := l.call("POST", setPath+"/delete", `{"instanceIds":["0"]}`)
	l.succeed(h)
	if got := ids(l.get(setPath + "/virtualMachines")); got != "5" {
		t.Errorf("after deletion: %s", got)
	}
	if c := at(l.get(setPath), "sku")["capacity"]; c != 1.0 {
		t.Errorf("capacity after deletion: %v", c)
	}

	_, _, h = l.call("DELETE", setPath, "")
	l.succeed(h)
	if code, _, _ := l.call("GET", setPath, ""); code != 404 {
		t.Errorf("GET after DELETE: %d", code)
	}
	l.empty()
}

// empty checks that nothing is left of any set.
func (l *lab) empty() {
	l.t.Helper()
	if infos, _ := l.engine.List(l.t.Context()); len(infos) > 0 {
		l.t.Errorf("machines are left: %v", infos)
	}
	if used, _ := l.room.ledger.usage(); used != 0 {
		l.t.Errorf("memory is left: %d", used)
	}
}
