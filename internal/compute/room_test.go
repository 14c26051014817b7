package compute

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/sim"
	"lido.dev/lido/internal/store"
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

	_, _, h := l.call("POST", setPath+"/delete", `{"instanceIds":["0","0"]}`)
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

func TestListInstances(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.succeed(l.put(setPath, setBody(3, "")))
	l.succeed(l.post(setPath+"/virtualMachines/1/poweroff", ""))
	l.succeed(l.put(setPath, `{"location":"local","sku":{"name":"Standard_D4s_v3","tier":"Standard","capacity":4}}`))
	l.succeed(l.post(setPath+"/manualupgrade", `{"instanceIds":["2"]}`))
	for filter, want := range map[string]string{
		"":                                       "0 1 2 3",
		"properties/latestModelApplied eq true":  "2 3",
		"properties/latestModelApplied eq false": "0 1",
		"startswith(instanceView/statuses/code, 'PowerState') eq true":                                                   "0 1 2 3",
		"startswith(instanceView/statuses/code,'PowerState/running') eq true":                                            "0 2 3",
		"StartsWith(instanceView/statuses/code, 'powerstate/stopped') Eq True":                                           "1",
		"startswith(instanceView/statuses/code, 'PowerState/running') eq true and properties/latestModelApplied eq true": "2 3",
	} {
		list := l.get(setPath + "/virtualMachines?$filter=" + url.QueryEscape(filter))
		if got := ids(list); got != want {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
		if at(values(list)[0], "properties")["instanceView"] != nil {
			t.Errorf("%s: views are shown unasked", filter)
		}
	}
	for _, bad := range []string{"name eq 'x'", "properties/latestModelApplied", "properties/latestModelApplied eq true or true"} {
		if code, m, _ := l.call("GET", setPath+"/virtualMachines?$filter="+url.QueryEscape(bad), ""); code != 400 || at(m, "error")["target"] != "$filter" {
			t.Errorf("%s: %d %v", bad, code, m)
		}
	}
	if code, _, _ := l.call("GET", setPath+"-none/skus", ""); code != 404 {
		t.Errorf("sizes of a set that is not there: %d", code)
	}
}

func TestConditionsOnInstances(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.succeed(l.put(setPath, setBody(1, "")))
	for _, method := range []string{"PUT", "DELETE"} {
		r := httptest.NewRequest(method, setPath+"/virtualMachines/0?api-version=2022-11-01", strings.NewReader("{}"))
		r.Header.Set("If-Match", "other")
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		l.server.ServeHTTP(w, r)
		if w.Code != 412 {
			t.Errorf("%s of an instance that has changed: %d %s", method, w.Code, w.Body)
		}
	}
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

func (l *lab) post(path, body string) http.Header {
	l.t.Helper()
	code, m, h := l.call("POST", path, body)
	if code != 202 && code != 200 {
		l.t.Fatalf("POST %s: %d %v", path, code, m)
	}
	return h
}

// until waits for a condition.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("in vain: %s", what)
		}
	}
}

// codes returns the codes of an instance's view.
func (l *lab) codes(instance int) string {
	l.t.Helper()
	view := l.get(fmt.Sprintf("%s/virtualMachines/%d/instanceView", setPath, instance))
	var out []string
	for _, s := range view["statuses"].([]any) {
		out = append(out, s.(map[string]any)["code"].(string))
	}
	return strings.Join(out, " ")
}

func (l *lab) machines() string {
	infos, err := l.engine.List(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, m := range infos {
		out = append(out, fmt.Sprintf("%s:%s:%d", path.Base(m.Spec.Labels[labelInstance]), m.State, m.Boots))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestPower(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.succeed(l.put(setPath, setBody(2, "")))
	for _, c := range []struct{ path, body, codes, machines string }{
		{"/poweroff?skipShutdown=false", `{"instanceIds":["0"]}`, "ProvisioningState/succeeded PowerState/stopped", "0:stopped:1 1:running:1"},
		{"/start", `{"instanceIds":["*"]}`, "ProvisioningState/succeeded PowerState/running", "0:running:2 1:running:1"},
		{"/virtualmachines/0/restart", ``, "ProvisioningState/succeeded PowerState/running", "0:running:3 1:running:1"},
		{"/deallocate", `{}`, "ProvisioningState/succeeded PowerState/deallocated", "0:stopped:3 1:stopped:1"},
		{"/start", ``, "ProvisioningState/succeeded PowerState/running", "0:running:4 1:running:2"},
		{"/virtualMachines/0/reimage", ``, "ProvisioningState/succeeded PowerState/running", "0:running:1 1:running:2"},
		{"/reimageAll", ``, "ProvisioningState/succeeded PowerState/running", "0:running:1 1:running:1"},
	} {
		l.succeed(l.post(setPath+c.path, c.body))
		if got := l.codes(0); got != c.codes {
			t.Errorf("%s: %s", c.path, got)
		}
		if got := l.machines(); got != c.machines {
			t.Errorf("%s: machines %s, want %s", c.path, got, c.machines)
		}
		if c.path == "/deallocate" {
			if used, _ := l.room.ledger.usage(); used != 0 {
				t.Errorf("deallocated, but %d bytes are held", used)
			}
			l.close()
			l.open()
			if used, _ := l.room.ledger.usage(); used != 0 {
				t.Errorf("deallocated, but %d bytes are held after a restart of lido", used)
			}
		}
	}
	if code, m, _ := l.call("POST", setPath+"/restart", `{"instanceIds":["7"]}`); code != 400 {
		t.Errorf("an unknown instance: %d %v", code, m)
	}
}

func TestPoweredOffByItself(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.succeed(l.put(setPath, setBody(1, "")))
	infos, _ := l.engine.List(t.Context())
	l.engine.(*sim.Engine).PowerOff(infos[0].ID)
	time.Sleep(20 * time.Millisecond)
	if got := l.codes(0) + " " + l.machines(); got != "ProvisioningState/succeeded PowerState/stopped 0:stopped:1" {
		t.Errorf("after poweroff: %s", got)
	}
	// An operator may remove a machine behind lido's back: the instance gets another.
	l.engine.Delete(t.Context(), infos[0].ID)
	l.room.wakeSet(setPath)
	l.until("another machine", func() bool { return l.machines() == "0:running:1" })
}

func TestAllocationFailed(t *testing.T) {
	l := newLab(t, sim.Config{}, func(c *Config) { c.Memory = 17 << 30 })
	m := l.wait(l.put(setPath, setBody(3, "")))
	e := at(m, "error")
	if m["status"] != "Failed" || e["code"] != codeAllocation || !strings.Contains(e["message"].(string), "1 GiB of 17 GiB are free") {
		t.Fatalf("three machines of 8 GiB in 17: %v", m)
	}
	if got := strings.Count(l.machines(), "running"); got != 2 {
		t.Errorf("%d machines run", got)
	}
	if s := at(l.get(setPath), "properties")["provisioningState"]; s != "Failed" {
		t.Errorf("the set is %v", s)
	}
	// As soon as memory is given back, the third one starts and the set is well.
	l.succeed(l.post(setPath+"/delete", `{"instanceIds":["0"]}`))
	l.until("the failed one to start", func() bool { return strings.Count(l.machines(), "running") == 2 })
	l.until("the set to be well", func() bool { return at(l.get(setPath), "properties")["provisioningState"] == "Succeeded" })
	code, body, _ := l.call("PUT", setPath, strings.Replace(setBody(1, ""), "D2s_v3", "D16s_v3", 1))
	if code != 409 || at(body, "error")["code"] != "SkuNotAvailable" {
		t.Errorf("a size beyond the host: %d %v", code, body)
	}
}

func TestStartFails(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	l := newLab(t, sim.Config{Fail: func(machine.Spec) error {
		if broken.Load() {
			return errors.New("no such kernel")
		}
		return nil
	}}, nil)
	m := l.wait(l.put(setPath, setBody(1, "")))
	if m["status"] != "Failed" || !strings.Contains(fmt.Sprint(m), "no such kernel") {
		t.Fatalf("operation: %v", m)
	}
	if got := l.codes(0); got != "ProvisioningState/failed/"+codeMachineFailed {
		t.Errorf("codes: %s", got)
	}
	broken.Store(false)
	l.succeed(l.put(setPath, setBody(1, ""))) // wishing again tries again
	if got := l.machines(); !strings.Contains(got, "0:running") {
		t.Errorf("machines: %s", got)
	}
}

func TestSubnetFull(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	l.network.full = true
	if m := l.wait(l.put(setPath, setBody(1, ""))); m["status"] != "Failed" || at(m, "error")["code"] != "SubnetIsFull" {
		t.Fatalf("operation: %v", m)
	}
	l.network.full = false
	l.succeed(l.put(setPath, setBody(1, "")))
}

func TestDrain(t *testing.T) {
	g := newFakeGuest()
	l := newLab(t, sim.Config{Exec: g.exec}, func(c *Config) { c.DrainTimeout = time.Minute })
	l.succeed(l.put(setPath, setBody(3, "")))
	infos, _ := l.engine.List(t.Context())
	busy := map[string]string{} // instance -> machine
	for _, m := range infos {
		busy[path.Base(m.Spec.Labels[labelInstance])] = m.ID
	}
	g.mu.Lock()
	g.sessions[busy["2"]], g.sessions[busy["1"]] = 1, 1
	g.mu.Unlock()
	l.room.countIn(t.Context(), infos)

	l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","capacity":1}}`)
	l.until("the idle one to go first", func() bool { return ids(l.get(setPath+"/virtualMachines")) == "1 2" })
	l.until("a busy one to drain", func() bool {
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		return l.network.draining[store.Key(setPath)+"/virtualmachines/2"]
	})
	// Wanted again before its session ended: it stays, and gets connections again.
	h := l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","capacity":2}}`)
	l.succeed(h)
	if got := ids(l.get(setPath + "/virtualMachines")); got != "1 2" {
		t.Errorf("instances: %s", got)
	}
	if l.network.draining[store.Key(setPath)+"/virtualmachines/2"] {
		t.Error("it still drains")
	}
	h = l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","capacity":1}}`)
	time.Sleep(30 * time.Millisecond)
	if got := ids(l.get(setPath + "/virtualMachines")); got != "1 2" {
		t.Errorf("taken with a session in it: %s", got)
	}
	g.mu.Lock()
	g.sessions[busy["2"]] = 0
	g.mu.Unlock()
	l.succeed(h)
	if got := ids(l.get(setPath + "/virtualMachines")); got != "1" {
		t.Errorf("instances: %s", got)
	}
}

func customExtension(name, settings, protected string, more string) string {
	return fmt.Sprintf(`{"name":%q,"properties":{"publisher":"Microsoft.Azure.Extensions","type":"CustomScript","typeHandlerVersion":"2.0"%s,"settings":%s,"protectedSettings":%s}}`, name, more, settings, protected)
}

func extensions(list ...string) string {
	return `,"extensionProfile":{"extensions":[` + strings.Join(list, ",") + `]}`
}

func TestExtensions(t *testing.T) {
	g := newFakeGuest()
	g.answer = func(c string) (int, string, string) {
		if strings.Contains(c, "bad") {
			return 7, "before", "mount error(13): Permission denied with " + shareKey
		}
		return 0, "fine", ""
	}
	l := newLab(t, sim.Config{Exec: g.exec}, nil)
	second := customExtension("second", `{"fileUris":["https://example.com/a/run.sh"]}`, `{"commandToExecute":"bash run.sh `+shareKey+`"}`, `,"provisionAfterExtensions":["first"]`)
	unknown := `{"name":"monitor","properties":{"publisher":"Microsoft.Azure.Monitor","type":"AzureMonitorLinuxAgent","typeHandlerVersion":"1.0"}}`
	l.succeed(l.put(setPath, setBody(1, extensions(second, customExtension("first", `{"commandToExecute":"true"}`, `null`, ""), unknown))))
	view := fmt.Sprint(l.get(setPath + "/virtualMachines/0/instanceView")["extensions"])
	for _, want := range []string{"Enable succeeded: \n[stdout]\nfine", "lido does not run them"} {
		if !strings.Contains(view, want) {
			t.Errorf("%q is not in %s", want, view)
		}
	}
	var units []string
	for k, c := range g.commands {
		units = append(units, k[strings.IndexByte(k, ' ')+1:]+"="+c)
	}
	slices.Sort(units)
	if got := strings.Join(units, ";"); got != "/var/lib/waagent/custom-script/download/1=true;/var/lib/waagent/custom-script/download/2=bash run.sh "+shareKey {
		t.Errorf("ran: %s", got)
	}
	for k, f := range g.files {
		if !strings.HasSuffix(k, "/2/run.sh") || strings.Contains(f, "\r") {
			t.Errorf("file %s: %q", k, f)
		}
	}

	// A new instance with a script that fails: the set says why, without the key.
	m := l.wait(l.put(setPath, setBody(2, extensions(customExtension("first", `{}`, `{"commandToExecute":"bad `+shareKey+`"}`, "")))))
	if e := at(m, "error"); m["status"] != "Failed" || e["code"] != codeExtension || !strings.Contains(fmt.Sprint(e["details"]), "exit status=7") || !strings.Contains(fmt.Sprint(e["details"]), "mount error(13)") {
		t.Errorf("operation: %v", m)
	}
	if got := l.codes(1); !strings.HasPrefix(got, "ProvisioningState/failed/"+codeExtension+" PowerState/running") {
		t.Errorf("codes: %s", got)
	}
	if got := l.codes(0); got != "ProvisioningState/succeeded PowerState/running" {
		t.Errorf("the older instance, not upgraded: %s", got)
	}
	everything := fmt.Sprint(l.get(setPath), l.get(setPath+"/virtualMachines?$expand=instanceView"), l.get(setPath+"/instanceView"), m) + l.dump()
	if strings.Contains(everything, shareKey) || strings.Contains(everything, "Hush-hush") {
		t.Error("a secret is shown or stored in clear")
	}
	for name, c := range map[string]struct{ settings, protected, want string }{
		"both":      {`{"commandToExecute":"a"}`, `{"commandToExecute":"b"}`, "specified both in public and protected settings"},
		"none":      {`{}`, `{}`, "neither 'commandToExecute' nor 'script'"},
		"not found": {`{"fileUris":["https://example.com/missing"],"commandToExecute":"a"}`, `{}`, "failed to download files: 404"},
	} {
		l.wait(l.put(setPath, setBody(2, extensions(customExtension("first", c.settings, c.protected, "")))))
		l.wait(l.post(setPath+"/manualupgrade", `{"instanceIds":["1"]}`))
		if got := l.extensionMessage(1); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// dump returns all that the store holds, as text.
func (l *lab) dump() string {
	var b strings.Builder
	for _, f := range []string{"lido.db", "lido.db-wal"} {
		data, _ := os.ReadFile(filepath.Join(l.dir, f))
		b.Write(data)
	}
	return b.String()
}

// TestKilled ends lido at many moments of a set's life and starts it again: each time the wish is fulfilled, scripts
// ran once, and nothing is left over.
func TestKilled(t *testing.T) {
	g := newFakeGuest()
	l := newLab(t, sim.Config{Exec: g.exec, CreateDelay: 3 * time.Millisecond, StartDelay: 3 * time.Millisecond, DeleteDelay: 3 * time.Millisecond}, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	bounce := func(h http.Header) {
		for range 3 {
			time.Sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
			l.close()
			l.open()
		}
		l.succeed(h)
	}
	script := extensions(customExtension("first", `{"commandToExecute":"true"}`, `null`, ""))
	for round := range 4 {
		bounce(l.put(setPath, setBody(6, script)))
		if got := strings.Count(l.machines(), "running"); got != 6 {
			t.Fatalf("round %d: %s", round, l.machines())
		}
		bounce(l.post(setPath+"/restart", ""))
		bounce(l.post(setPath+"/reimage", `{"instanceIds":["*"]}`))
		bounce(l.put(setPath, `{"location":"local","sku":{"name":"Standard_D2s_v3","capacity":2}}`))
		if got := strings.Count(l.machines(), "running"); got != 2 {
			t.Fatalf("round %d: %s", round, l.machines())
		}
		_, _, h := l.call("DELETE", setPath, "")
		bounce(h)
		l.empty()
	}
	if g.ran() != 4*(6+6) {
		t.Errorf("%d scripts ran, want %d", g.ran(), 4*(6+6))
	}
}

func (l *lab) extensionMessage(instance int) string {
	l.t.Helper()
	view := l.get(fmt.Sprintf("%s/virtualMachines/%d/instanceView", setPath, instance))
	list, _ := view["extensions"].([]any)
	if len(list) == 0 {
		return fmt.Sprint(view)
	}
	return list[0].(map[string]any)["statuses"].([]any)[0].(map[string]any)["message"].(string)
}

func TestExtensionsAsResources(t *testing.T) {
	g := newFakeGuest()
	l := newLab(t, sim.Config{Exec: g.exec}, nil)
	l.succeed(l.put(setPath, setBody(1, "")))
	path := setPath + "/extensions/run"
	props := `{"location":"local","properties":{"publisher":"Microsoft.Azure.Extensions","type":"CustomScript","typeHandlerVersion":"2.1","settings":{},"protectedSettings":{"commandToExecute":"echo ` + shareKey + `"}}}`
	l.succeed(l.put(path, props))
	if e := l.get(path); e["name"] != "run" || strings.Contains(fmt.Sprint(e), "protectedSettings") {
		t.Errorf("extension: %v", e)
	}
	l.succeed(l.put(path+"2", strings.Replace(props, shareKey, "two", 1)))
	l.succeed(l.post(setPath+"/manualupgrade", `{"instanceIds":["0"]}`))
	if got := len(values(l.get(setPath + "/virtualMachines/0/extensions"))); got != 2 || g.ran() != 2 {
		t.Errorf("%d extensions, %d ran", got, g.ran())
	}
	code, _, h := l.call("DELETE", path, "")
	if l.succeed(h); code != 202 {
		t.Errorf("DELETE: %d", code)
	}
	if got := values(l.get(setPath + "/extensions")); len(got) != 1 || got[0]["name"] != "run2" {
		t.Errorf("left: %v", got)
	}
	if strings.Contains(l.dump(), shareKey) {
		t.Error("the key is stored in clear")
	}
}

// TestMachineThatFailedIsNotReplacedAtOnce: what kept it from starting may be over, and its disk is somebody's work.
func TestMachineThatFailedIsNotReplacedAtOnce(t *testing.T) {
	var broken atomic.Bool
	l := newLab(t, sim.Config{Fail: func(machine.Spec) error {
		if broken.Load() {
			return errors.New("no network")
		}
		return nil
	}}, nil)
	l.succeed(l.put(setPath, setBody(1, "")))
	infos, _ := l.engine.List(t.Context())
	l.close() // as when the host starts: the engine comes first
	broken.Store(true)
	l.engine.(*sim.Engine).Crash(infos[0].ID)
	if now, _ := l.engine.Get(t.Context(), infos[0].ID); now.State != machine.Failed {
		t.Fatalf("the machine is %s", now.State)
	}
	broken.Store(false)
	l.open()
	l.until("the machine to run again", func() bool {
		now, err := l.engine.Get(t.Context(), infos[0].ID)
		return err == nil && now.State == machine.Running
	})
}
