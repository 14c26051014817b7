//go:build root

package compute

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
	"lido.dev/lido/internal/machine/runc"
	"lido.dev/lido/internal/pki"
)

// realNetwork is fakeNetwork with a namespace and a bridge behind it.
type realNetwork struct {
	*fakeNetwork
	tag string
}

func (n realNetwork) NIC(_ context.Context, id string) (machine.NIC, error) {
	num := id[strings.LastIndexByte(id, '/')+1:]
	var i byte
	fmt.Sscan(num, &i)
	return machine.NIC{Namespace: "lido-" + n.tag + "-t", Await: "br0", HostLink: "ld" + n.tag + "c" + num, MAC: fmt.Sprintf("02:00:0a:4d:01:%02x", i+1),
		Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 1, i + 1}), 16)}, Gateway: netip.MustParseAddr("10.77.0.1")}, nil
}

type realKeys struct{ ca *pki.Authority }

func (k realKeys) HostKey(a string) (private, public []byte, err error) {
	key, err := pki.NewHostKey(make([]byte, 32), a)
	return key.PrivatePEM, []byte(key.Public + "\n"), err
}

func (k realKeys) ServerCert(names ...string) (cert, key []byte, err error) {
	leaf, err := k.ca.Issue(pki.MachineLifetime, names...)
	return leaf.CertPEM, leaf.KeyPEM, err
}

// newRealLab is a lab whose machines are containers.
func newRealLab(t *testing.T) *lab {
	t.Helper()
	root := machinetest.BaseRoot(t)
	var b [3]byte
	rand.Read(b[:])
	tag := hex.EncodeToString(b[:])
	makeBridge(t, "lido-"+tag+"-t")
	run := filepath.Join("/run/lido", tag)
	cfg := runc.Config{Dir: filepath.Join("/var/tmp", "lido-"+tag), RunDir: filepath.Join(run, "machines"), Tag: tag}
	e, err := runc.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Purge(); err != nil {
			t.Errorf("purge: %v", err)
		}
		e.Close()
		os.RemoveAll(run)
		os.RemoveAll(cfg.Dir)
	})
	ca, err := pki.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	share := filepath.Join(cfg.Dir, "share") // on a file system that can be idmapped
	if err := os.MkdirAll(share, 0o777); err != nil {
		t.Fatal(err)
	}
	return newLabOn(t, e, func(c *Config) {
		c.Network, c.Images, c.Keys = realNetwork{c.Network.(*fakeNetwork), tag}, fakeImages{root}, realKeys{ca}
		c.Shares, c.RunDir = fakeShares{share}, filepath.Join(run, "m")
	})
}

// makeBridge makes a namespace with the bridge br0 in it.
func makeBridge(t *testing.T, name string) {
	t.Helper()
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.NewNamed(name)
		if err != nil {
			errc <- err
			return
		}
		defer ns.Close()
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		addr, _ := netlink.ParseAddr("10.77.0.1/16")
		errc <- errors.Join(netlink.LinkAdd(br), netlink.AddrAdd(br, addr), netlink.LinkSetUp(br))
	}()
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.DeleteNamed(name) })
}

// sh runs a command in the machine of an instance and returns what it printed.
func (l *lab) sh(instance int, command string) string {
	l.t.Helper()
	infos, err := l.engine.List(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, m := range infos {
		if !strings.HasSuffix(m.Spec.Labels[labelInstance], fmt.Sprintf("/%d", instance)) {
			continue
		}
		var out bytes.Buffer
		code, err := l.engine.Exec(l.t.Context(), m.ID, machine.Command{Args: []string{"/bin/sh", "-c", command}, Stdout: &out, Stderr: &out})
		if err != nil || code != 0 {
			l.t.Fatalf("%s: %d %v %s", command, code, err, out.String())
		}
		return strings.TrimSpace(out.String())
	}
	l.t.Fatalf("instance %d has no machine", instance)
	return ""
}

// mountCommand does what mount.cifs in an image does.
func mountCommand(key, share string) string {
	return `curl -s -w '%{http_code}\n' --unix-socket /run/lido/host.sock --data-urlencode source=//acct.file.core.example/` + share +
		` --data-urlencode target=/mnt/share --data-urlencode username=acct --data-urlencode password=` + key + ` http://lido/v1/mount`
}

func realExtension(command string) string {
	b, _ := json.Marshal(command)
	return fmt.Sprintf(`,"extensionProfile":{"extensions":[{"name":"script","properties":{"publisher":"Microsoft.Azure.Extensions","type":"CustomScript","typeHandlerVersion":"2.0",
"settings":{"fileUris":["https://example.com/dir/hello.sh?x=1"]},"protectedSettings":{"commandToExecute":%s}}}]}`, b)
}

func TestRealMachines(t *testing.T) {
	l := newRealLab(t)
	start := time.Now()
	script := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho custom >/root/custom\n"))
	body := setBody(2, realExtension("bash hello.sh && mkdir -p /mnt/share && "+mountCommand(shareKey, "sh")+" && echo x >>/root/count; echo "+shareKey+" >&2"))
	body = strings.Replace(body, `"adminUsername"`, `"customData":"`+script+`","adminUsername"`, 1)
	h := l.put(setPath, body)
	l.succeed(h)
	t.Logf("two machines, extensions run: %v", time.Since(start))

	message := l.extensionMessage(0)
	for i := range 2 {
		if m := l.extensionMessage(i); !strings.Contains(m, "Enable succeeded") || !strings.Contains(m, "hello") || !strings.Contains(m, "mounted") {
			t.Errorf("extension of %d: %s", i, m)
		}
	}
	if strings.Contains(message, shareKey) || !strings.Contains(message, redacted) {
		t.Errorf("the key is in the status: %s", message)
	}
	if got := l.sh(0, `perl -e '@a=getpwnam("dsvmuser"); print crypt("Hush-hush-1",$a[1]) eq $a[1] ? "yes" : "no $a[1]"'`); got != "yes" {
		t.Errorf("password: %s", got)
	}
	if got := l.sh(1, "stat -c %U:%a /mnt/share/notebooks/dsvmuser; readlink /home/dsvmuser/notebooks/remote; hostname; cat /root/custom"); got != "dsvmuser:700\n/mnt/share/notebooks/dsvmuser\ndsvm000001\ncustom" {
		t.Errorf("in the machine: %q", got)
	}
	if got := l.sh(0, "touch /mnt/share/a; "+strings.ReplaceAll(mountCommand("wrong", "sh")+";"+mountCommand(shareKey, "other"), "/mnt/share", "/mnt/b")); got != "mount error(13): Permission denied\n403\nmount error(2): No such file or directory\n404" {
		t.Errorf("refused mounts: %q", got)
	}
	l.sh(1, "test -e /mnt/share/a")
	if got := l.sh(1, `su dsvmuser -s /bin/sh -c "`+strings.ReplaceAll(mountCommand(shareKey, "sh"), "/mnt/share", "/etc")+`"`); !strings.Contains(got, "403") {
		t.Errorf("a user may mount over /etc: %q", got)
	}
	unmount := `curl -s -w '%{http_code}\n' --unix-socket /run/lido/host.sock -d target=/mnt/job http://lido/v1/unmount`
	if got := l.sh(0, strings.ReplaceAll(mountCommand(shareKey, "sh"), "/mnt/share", "/mnt/job")+`; su dsvmuser -s /bin/sh -c "`+unmount+`"; ls /mnt/job; `+unmount+"; ls /mnt/job; "+unmount); got != "mounted\n200\numount: only the machine's root may\n403\na\nnotebooks\n200\n200" {
		t.Errorf("unmount: %q", got)
	}
	if got := l.sh(0, `(bash -c 'exec -a "sshd: dsvmuser@notty" sleep 20' >/dev/null 2>&1 &); sleep 0.1; `+countScript); got != "1" {
		t.Errorf("sessions: %q, want 1", got)
	}
	t.Run("certificate", func(t *testing.T) { testRenewal(t, l) })
	t.Run("run-command", func(t *testing.T) { testRunCommand(t, l) })
	t.Run("restart of lido", func(t *testing.T) { testRestartWithin(t, l) })

	_, _, h = l.call("DELETE", setPath, "")
	l.succeed(h)
	l.empty()
}

// testRenewal looks at certificates now and later: one that ends soon is replaced, for the same names.
func testRenewal(t *testing.T, l *lab) {
	read := func() *x509.Certificate {
		pair, err := tls.X509KeyPair([]byte(l.sh(0, "cat "+certPath)), []byte(l.sh(0, "cat "+keyPath)))
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	look := func(at time.Time) {
		if err := l.room.renewDue(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	first := read()
	look(time.Now())
	if !read().Equal(first) {
		t.Error("a new certificate was replaced")
	}
	look(first.NotAfter.Add(-renewBefore))
	second := read()
	if second.Equal(first) || fmt.Sprint(second.DNSNames, second.IPAddresses) != fmt.Sprint(first.DNSNames, first.IPAddresses) {
		t.Errorf("the certificate for %v %v became one for %v %v", first.DNSNames, first.IPAddresses, second.DNSNames, second.IPAddresses)
	}
	if modes := l.sh(0, "cd /etc/lido/tls; stat -c %a:%U cert.pem key.pem; ls -A"); modes != "644:root\n600:root\ncert.pem\nkey.pem" {
		t.Errorf("files: %q", modes)
	}
	look(second.NotAfter.Add(-renewBefore - time.Minute))
	if !read().Equal(second) {
		t.Error("what was given since is not known")
	}
}

func testRunCommand(t *testing.T, l *lab) {
	code, m, h := l.call("POST", setPath+"/virtualmachines/0/runCommand", `{"commandId":"RunShellScript","script":["echo out $who","echo err >&2; exit 3"],"parameters":[{"name":"who","value":"it's me"}]}`)
	if code != 202 {
		t.Fatalf("%d %v", code, m)
	}
	l.succeed(h)
	res := l.get(strings.TrimPrefix(strings.Split(h.Get("Location"), "?")[0], "https://example.com"))
	if got := values(res)[0]["message"]; got != "Enable succeeded: \n[stdout]\nout it's me\n\n[stderr]\nerr\n" {
		t.Errorf("message: %q", got)
	}
}

// testRestartWithin ends lido while an extension runs: it is neither lost nor repeated.
func testRestartWithin(t *testing.T, l *lab) {
	var set map[string]any = l.get(setPath)
	ext := at(set, "properties", "virtualMachineProfile", "extensionProfile")["extensions"].([]any)[0].(map[string]any)
	at(ext, "properties")["forceUpdateTag"] = "2"
	at(ext, "properties")["protectedSettings"] = map[string]any{"commandToExecute": "echo y >>/root/count; sleep 2"}
	b, _ := json.Marshal(set)
	h := l.put(setPath, string(b))
	l.succeed(h) // the model alone: instances are upgraded by hand
	_, _, h = l.call("POST", setPath+"/manualupgrade", `{"instanceIds":["*"]}`)
	time.Sleep(time.Second)
	l.close()
	l.open()
	l.succeed(h)
	if got := l.sh(0, "cat /root/count"); got != "x\ny" {
		t.Errorf("the command ran: %q; status %s", got, l.extensionMessage(0))
	}
	l.sh(0, "test -e /mnt/share/a && curl -s --unix-socket /run/lido/host.sock http://lido/v1/self")
}

// TestRealLaunch says how long it takes from a wish to its machines' start.
func TestRealLaunch(t *testing.T) {
	l := newRealLab(t)
	for _, n := range []int{1, 8} {
		start := time.Now()
		h := l.put(setPath, setBody(n, ""))
		put := time.Since(start)
		l.succeed(h)
		infos, err := l.engine.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var first, last time.Duration
		for _, m := range infos {
			d := m.StartedAt.Sub(start)
			last = max(last, d)
			if first == 0 || d < first {
				first = d
			}
		}
		t.Logf("%d machines: PUT answered after %v, first started after %v, last after %v, settled after %v", n, put, first, last, time.Since(start))
		_, _, h = l.call("DELETE", setPath, "")
		l.succeed(h)
		l.empty()
	}
}
