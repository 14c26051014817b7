//go:build root

package test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lido.dev/lido/internal/image/imagetest"
)

// TestKilledAtRandom kills lido -9 at random moments of creating, scaling, deploying and deleting, starts it again, and
// wants each accepted wish fulfilled, no extension run twice, and in the end nothing left on the host.
// LIDO_CRASH_ROUNDS sets how often (default 8), LIDO_CRASH_SEED repeats a run.
func TestKilledAtRandom(t *testing.T) {
	imagetest.Base(t)
	rounds, seed := envInt("LIDO_CRASH_ROUNDS", 8), envInt("LIDO_CRASH_SEED", int(time.Now().UnixNano()&0xffffff))
	t.Logf("LIDO_CRASH_SEED=%d LIDO_CRASH_ROUNDS=%d", seed, rounds)
	l := newVictim(t, rand.New(rand.NewPCG(uint64(seed), 0)))
	l.start()
	for i := range rounds {
		l.round(i)
	}
	l.start()
	l.call("DELETE", l.group(), nil, 202, 204, 404)
	l.eventually("the group is gone", func() error { return l.want("GET", l.group(), 404) })
	l.checkNothingLeft()
}

func envInt(name string, preset int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return preset
}

// victim is a lido that is killed, and the wishes that it has accepted.
type victim struct {
	*testing.T
	rnd  *rand.Rand
	bin  string
	data string
	http http.Client

	pid     int
	base    string // URL
	sub     string
	token   string
	machine int  // capacity wished for
	exists  bool // the pool is wished for
}

func newVictim(t *testing.T, rnd *rand.Rand) *victim {
	data, err := os.MkdirTemp("", "lido-crash-")
	if err != nil {
		t.Fatal(err)
	}
	l := &victim{T: t, rnd: rnd, bin: filepath.Join(buildLido(t), "lido"), data: data}
	l.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	l.http.Timeout = 30 * time.Second
	t.Cleanup(func() {
		if out, err := exec.Command(l.bin, "down", "--data", data, "--purge", "--yes").CombinedOutput(); err != nil {
			t.Errorf("lido down --purge: %v\n%s", err, out)
		}
		os.RemoveAll(data)
	})
	return l
}

// start brings lido up, if it is not, and signs in.
func (l *victim) start() {
	l.Helper()
	cmd := exec.Command(l.bin, "up", "--data", l.data, "--listen", "127.0.0.1:0", "--detach")
	cmd.Env = append(os.Environ(), "LIDO_IMAGE_SEEDS="+imagetest.Dir())
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("lido up: %v\n%s", err, out)
	}
	pid, err := serverPID(l.data)
	if err != nil {
		l.Fatal(err)
	}
	out, err := exec.Command("ss", "-Hltnp").Output()
	if err != nil {
		l.Fatal(err)
	}
	l.pid = pid
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", pid)) {
			l.base = "https://" + strings.Fields(line)[3]
		}
	}
	l.signIn()
}

func (l *victim) signIn() {
	var admin struct{ User, Password string }
	data, err := os.ReadFile(filepath.Join(l.data, "admin.json"))
	if err == nil {
		err = json.Unmarshal(data, &admin)
	}
	if err != nil {
		l.Fatal(err)
	}
	resp, err := l.http.PostForm(l.base+"/adfs/oauth2/token", url.Values{
		"grant_type": {"password"}, "client_id": {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}, "username": {admin.User},
		"password": {admin.Password}, "scope": {l.base + "/.default"}})
	if err != nil {
		l.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		l.Fatalf("sign in: %s %v", resp.Status, err)
	}
	l.token = answer.Token
	var subs struct {
		Value []struct{ SubscriptionID string }
	}
	if err := json.Unmarshal(l.call("GET", "/subscriptions", nil, 200), &subs); err != nil {
		l.Fatal(err)
	}
	l.sub = "/subscriptions/" + subs.Value[0].SubscriptionID
}

func (l *victim) group() string { return l.sub + "/resourceGroups/g" }
func (l *victim) set() string {
	return l.group() + "/providers/Microsoft.Compute/virtualMachineScaleSets/s"
}

func (l *victim) send(method, path string, body any) (int, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	if body == nil {
		b = nil
	}
	req, err := http.NewRequest(method, l.base+path+"?api-version=2022-11-01", bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// call wants one of the statuses.
func (l *victim) call(method, path string, body any, statuses ...int) []byte {
	l.Helper()
	status, b, err := l.send(method, path, body)
	for _, s := range statuses {
		if status == s {
			return b
		}
	}
	l.Fatalf("%s %s: %d %v %s", method, path, status, err, b)
	return nil
}

func (l *victim) want(method, path string, status int) error {
	got, b, err := l.send(method, path, nil)
	if err == nil && got != status {
		err = fmt.Errorf("%s %s: %d %.300s", method, path, got, b)
	}
	return err
}

// round makes a wish, kills lido at a random moment, starts it, and waits until the wish is fulfilled.
func (l *victim) round(i int) {
	l.start()
	what := l.wish()
	pause := time.Duration(l.rnd.IntN(1500)) * time.Millisecond
	time.Sleep(pause)
	l.Logf("round %d: %s, killed after %v", i, what, pause)
	if err := syscall.Kill(l.pid, syscall.SIGKILL); err != nil {
		l.Fatal(err)
	}
	for syscall.Kill(l.pid, 0) == nil {
		time.Sleep(10 * time.Millisecond)
	}
	l.start()
	l.eventually(what, l.fulfilled)
	if i == 0 {
		l.checkTracesSeen()
	}
}

func (l *victim) wish() string {
	switch n := l.rnd.IntN(4); {
	case !l.exists:
		l.call("PUT", l.group(), map[string]any{"location": "local"}, 200, 201)
		l.exists, l.machine = true, 1+l.rnd.IntN(3)
		l.call("PUT", l.group()+"/providers/Microsoft.Resources/deployments/d", map[string]any{"properties": map[string]any{
			"mode": "Incremental", "template": crashTemplate(l.machine)}}, 200, 201)
		return fmt.Sprintf("deploy %d machines", l.machine)
	case n == 0:
		l.exists, l.machine = false, 0
		l.call("DELETE", l.group(), nil, 202)
		return "delete the group"
	default:
		l.machine = l.rnd.IntN(5)
		l.call("PATCH", l.set(), map[string]any{"sku": map[string]any{"capacity": l.machine}}, 200)
		return fmt.Sprintf("scale to %d", l.machine)
	}
}

// fulfilled tells what is still missing from the last wish.
func (l *victim) fulfilled() error {
	if !l.exists {
		return l.want("GET", l.group(), 404)
	}
	status, b, err := l.send("GET", l.set(), nil)
	if err != nil || status != 200 {
		return fmt.Errorf("the set: %d %v %.300s", status, err, b)
	}
	var set struct {
		Properties struct{ ProvisioningState string }
	}
	if err := json.Unmarshal(b, &set); err != nil || set.Properties.ProvisioningState != "Succeeded" {
		return fmt.Errorf("the set is %q (%v)", set.Properties.ProvisioningState, err)
	}
	machines := l.machines()
	if len(machines) != l.machine {
		return fmt.Errorf("%d machines, want %d", len(machines), l.machine)
	}
	for _, m := range machines {
		if m.State != "running" {
			return fmt.Errorf("%s is %s: %s", m.Name, m.State, m.Reason)
		}
		if err := l.ranOnce(); err != nil {
			return err
		}
	}
	return nil
}

type machineLine struct{ Name, State, Reason string }

func (l *victim) machines() (list []machineLine) {
	out, err := exec.Command(l.bin, "machines", "--data", l.data, "-o", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		l.Fatalf("lido machines: %v\n%s", err, out)
	}
	return list
}

// ranOnce looks at the trace that the extension leaves each time it runs.
func (l *victim) ranOnce() error {
	traces, _ := filepath.Glob(filepath.Join(l.data, "machines", "*", "root", "upper", "root", "ran"))
	for _, f := range traces {
		if b, err := os.ReadFile(f); err == nil && string(b) != "once\n" {
			l.Fatalf("the extension ran more than once: %s holds %q", f, b)
		}
	}
	if len(traces) < l.machine {
		return fmt.Errorf("the extension has run on %d machines of %d", len(traces), l.machine)
	}
	return nil
}

func (l *victim) eventually(what string, check func() error) {
	l.Helper()
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	log, _ := os.ReadFile(filepath.Join(l.data, "log", "lido.log"))
	l.Fatalf("%s: not within two minutes: %v\n%s", what, err, lastLines(string(log), 30))
}

// traces finds what machines and networks are made of on the host, by kind.
func (l *victim) traces() map[string]string {
	tag := tagOf(l.data)
	found := map[string]string{}
	for kind, cmd := range map[string]string{
		"namespaces": "ip netns list | grep lido-" + tag,
		"links":      "ip -br link | grep ^ld" + tag,
		"routes":     "ip route show | grep ld" + tag,
		"mounts":     "grep -F " + l.data + "/ /proc/self/mountinfo",
		"cgroups":    "find /sys/fs/cgroup -mindepth 2 -path '*lido-" + tag + "/*' -type d",
		"processes":  "pgrep -af '[c]onmon.*" + tag + "'",
		"machines":   "ls " + l.data + "/machines | grep .",
		"uid ranges": "ls -l /run/lido/ranges | grep -F " + l.data,
		"sockets":    "find /run/lido/" + tag + "/m -mindepth 1",
	} {
		out, _ := exec.Command("sh", "-c", cmd+" 2>/dev/null").Output() // grep's 1 is the good answer
		found[kind] = strings.TrimSpace(string(out))
	}
	return found
}

func (l *victim) checkNothingLeft() {
	for kind, what := range l.traces() {
		if what != "" {
			l.Errorf("%s are left:\n%s", kind, what)
		}
	}
}

// checkTracesSeen makes sure that traces would see a leak: with machines running, each kind is there.
func (l *victim) checkTracesSeen() {
	for kind, what := range l.traces() {
		if what == "" && kind != "mounts" { // those are in the machines' own mount namespaces
			l.Errorf("no %s are seen while machines run: the check for leaks looks in the wrong place", kind)
		}
	}
}

// tagOf is the mark of a data directory's lido on the host.
func tagOf(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:3])
}

// crashTemplate is a pool of n small machines behind an address, each of which notes when its extension runs.
func crashTemplate(n int) map[string]any {
	type m = map[string]any
	id := func(typ, name string) string {
		return fmt.Sprintf("[resourceId('Microsoft.Network/%s', '%s')]", typ, name)
	}
	under := func(child string) string {
		return "[concat(resourceId('Microsoft.Network/loadBalancers', 'lb'), '/" + child + "')]"
	}
	resource := func(typ, name string, properties m) m {
		return m{"type": typ, "apiVersion": "2022-01-01", "name": name, "location": "local", "properties": properties}
	}
	set := resource("Microsoft.Compute/virtualMachineScaleSets", "s", m{
		"upgradePolicy": m{"mode": "Manual"}, "overprovision": false,
		"virtualMachineProfile": m{
			"storageProfile": m{"imageReference": m{"publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}},
			"osProfile":      m{"computerNamePrefix": "s", "adminUsername": "ada", "adminPassword": "Hush-hush-hush-1"},
			"networkProfile": m{"networkInterfaceConfigurations": []m{{"name": "nic", "properties": m{"primary": true, "ipConfigurations": []m{{
				"name": "ip", "properties": m{
					"subnet":                          m{"id": "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'net', 'a')]"},
					"loadBalancerBackendAddressPools": []m{{"id": under("backendAddressPools/pool")}},
				}}}}}}},
			"extensionProfile": m{"extensions": []m{{"name": "note", "properties": m{
				"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1",
				"settings": m{"commandToExecute": "sleep 0.3; echo once >> /root/ran"}}}}},
		}})
	set["sku"] = m{"name": "Standard_B1s", "tier": "Standard", "capacity": n}
	return m{
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
		"resources": []m{
			resource("Microsoft.Network/virtualNetworks", "net", m{"addressSpace": m{"addressPrefixes": []string{"10.0.0.0/16"}},
				"subnets": []m{{"name": "a", "properties": m{"addressPrefix": "10.0.0.0/24"}}}}),
			resource("Microsoft.Network/publicIPAddresses", "pip", m{"publicIPAllocationMethod": "Static"}),
			resource("Microsoft.Network/loadBalancers", "lb", m{
				"frontendIPConfigurations": []m{{"name": "fe", "properties": m{"publicIPAddress": m{"id": id("publicIPAddresses", "pip")}}}},
				"backendAddressPools":      []m{{"name": "pool"}},
				"loadBalancingRules": []m{{"name": "ssh", "properties": m{"protocol": "Tcp", "frontendPort": 22, "backendPort": 22,
					"frontendIPConfiguration": m{"id": under("frontendIPConfigurations/fe")}, "backendAddressPool": m{"id": under("backendAddressPools/pool")}}}},
			}),
			set,
		},
	}
}
