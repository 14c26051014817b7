//go:build root

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lido.dev/lido/internal/azenv"
	"lido.dev/lido/internal/image/imagetest"
)

var clients = []string{"az-new", "az-2.45"}

func cacheDir() string {
	if dir := os.Getenv("LIDO_TEST_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/lido-test"
}

func clientDir(name string) string { return filepath.Join(cacheDir(), "clients", name) }

func TestScripts(t *testing.T) {
	bin := buildLido(t)
	imagetest.Base(t)
	imagetest.DSVM(t)
	imagetest.Ensure(t, "batch")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               func(env *testscript.Env) error { return setup(env, bin) },
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"up": cmdUp, "crash": cmdCrash, "az-env": cmdAzEnv, "eventually": cmdEventually, "python": cmdPython, "capture": cmdCapture, "registry": cmdRegistry, "small-disk": cmdSmallDisk,
		},
	})
}

// buildLido builds the program once for all scripts.
func buildLido(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "lido"), "lido.dev/lido/cmd/lido")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build lido: %v\n%s", err, out)
	}
	return dir
}

// scripts counts those that were set up.
var scripts atomic.Int32

// setup prepares a script's environment. Its data directory is not below the script's own, which the script's end
// removes without asking whether something is still mounted there.
func setup(env *testscript.Env, bin string) error {
	data, err := os.MkdirTemp("", "lido-test-")
	if err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	repo, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	own := filepath.Join(env.WorkDir, "bin") // programs that the script brings
	files, _ := filepath.Glob(filepath.Join(own, "*"))
	for _, f := range files {
		if err := os.Chmod(f, 0o755); err != nil {
			return err
		}
	}
	env.Setenv("PATH", own+":"+bin+":"+env.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("HOME", home)
	env.Setenv("DATA", data)
	env.Setenv("LIDO_DATA", data)
	env.Setenv("RANGE", fmt.Sprintf("10.254.%d.0/24", scripts.Add(1)))
	env.Setenv("REPO", repo)
	env.Setenv("SHARED", sharedDir(repo))
	env.Setenv("CLIENTS", filepath.Join(cacheDir(), "clients"))
	env.Setenv("LIDO_IMAGE_SEEDS", imagetest.Dir())
	env.Defer(func() { purge(env, filepath.Join(bin, "lido"), data) })
	return nil
}

// purge takes the script's lido away. What it cannot take away fails the test, so that leaks are seen.
func purge(env *testscript.Env, lido, data string) {
	t := env.T()
	if testing.Verbose() || failed(t) {
		if log, err := os.ReadFile(filepath.Join(data, "log", "lido.log")); err == nil {
			t.Log("the server's log ends:\n" + lastLines(string(log), 40))
		}
	}
	cmd := exec.Command(lido, "down", "--data", data, "--purge", "--yes")
	cmd.Env = env.Vars
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(fmt.Sprintf("lido down --purge: %v\n%s", err, out))
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
}

func failed(t testscript.T) bool {
	f, ok := t.(interface{ Failed() bool })
	return ok && f.Failed()
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// sharedDir holds templates of others that lido is tried on; it is not part of the project.
func sharedDir(repo string) string {
	if dir := os.Getenv("LIDO_TEST_SHARED"); dir != "" {
		return dir
	}
	return filepath.Join(repo, "..", "shared")
}

// condition tells what is at hand. In CI everything has to be: there, what is missing fails the script.
func condition(cond string) (bool, error) {
	kind, name, _ := strings.Cut(cond, ":")
	var have bool
	switch kind {
	case "client":
		_, err := os.Stat(filepath.Join(clientDir(name), "bin"))
		have = err == nil
	case "image":
		have = hasImage(name)
	case "shared":
		repo, err := filepath.Abs("..")
		if err != nil {
			return false, err
		}
		_, err = os.Stat(sharedDir(repo))
		have = err == nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if !have && os.Getenv("CI") == "true" {
		return false, fmt.Errorf("%s is missing, and CI may not skip", cond)
	}
	return have, nil
}

func hasImage(name string) bool {
	_, err := imageRoot(name)
	return err == nil
}

// imageRoot is the root directory of a machine image that is built.
func imageRoot(name string) (string, error) {
	metas, _ := filepath.Glob(filepath.Join(imagetest.Dir(), "*", "*.json"))
	for _, m := range metas {
		var v struct {
			Name string `json:"name"`
		}
		if data, err := os.ReadFile(m); err == nil && json.Unmarshal(data, &v) == nil && v.Name == name {
			return filepath.Join(filepath.Dir(m), "rootfs"), nil
		}
	}
	return "", fmt.Errorf("the image %s is not built", name)
}

func cmdUp(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg, "up")
	config := filepath.Join(ts.Getenv("DATA"), "lido.yaml")
	if i := slices.Index(args, "--config"); i >= 0 {
		config = ts.MkAbs(args[i+1])
	}
	ts.Check(ownRange(config, ts.Getenv("RANGE")))
	ts.Check(ts.Exec("lido", append([]string{"up", "--listen", "127.0.0.1:0", "--detach"}, args...)...))
}

// ownRange has a configuration name a range of public addresses, if it names none: scripts run side by side, and two
// lidos that take an address of the same range at the same moment may take the same.
func ownRange(config, addresses string) error {
	text, err := os.ReadFile(config)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if strings.Contains(string(text), "publicAddresses") {
		return nil
	}
	return os.WriteFile(config, append(text, "\npublicAddresses: ["+addresses+"]\n"...), 0o600)
}

func cmdCrash(ts *testscript.TestScript, neg bool, _ []string) {
	refuse(ts, neg, "crash")
	pid, err := serverPID(ts.Getenv("DATA"))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	for range 500 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("process %d outlives kill -9", pid)
}

// serverPID is the process that holds the lock of a data directory.
func serverPID(data string) (int, error) {
	want, err := os.Stat(filepath.Join(data, "lock"))
	if err != nil {
		return 0, err
	}
	ino := fmt.Sprintf(":%d ", want.Sys().(*syscall.Stat_t).Ino)
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(locks)) {
		var n, pid int
		var class, kind, mode string
		if strings.Contains(line, ino) {
			_, err := fmt.Sscanf(line, "%d: %s %s %s %d", &n, &class, &kind, &mode, &pid)
			return pid, err
		}
	}
	return 0, fmt.Errorf("no server runs with %s", data)
}

func cmdAzEnv(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg, "az-env")
	if len(args) == 0 {
		ts.Fatalf("usage: az-env NAME [ARGS...]")
	}
	name := args[0]
	dir := filepath.Join(ts.Getenv("WORK"), name)
	ts.Check(ts.Exec("lido", append([]string{"az", "env", "--dir", dir}, args[1:]...)...))
	url := ""
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if rest, ok := strings.CutPrefix(line, "export LIDO_URL="); ok {
			url = strings.Trim(strings.TrimSpace(rest), "'")
		}
	}
	for k, v := range azenv.Vars(dir, url) {
		ts.Setenv(k, v)
	}
	if index, err := os.ReadFile(filepath.Join(clientDir(name), "lido-command-index.json")); err == nil {
		ts.Check(os.WriteFile(filepath.Join(dir, "commandIndex.json"), index, 0o600))
	}
	path := ts.Getenv("PATH")
	for _, c := range clients {
		path = strings.TrimPrefix(path, clientDir(c)+"/bin:")
	}
	ts.Setenv("PATH", clientDir(name)+"/bin:"+path)
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually SECONDS COMMAND...")
	}
	limit, err := time.ParseDuration(args[0] + "s")
	ts.Check(err)
	for deadline := time.Now().Add(limit); ; time.Sleep(200 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s s: %v: %v", args[0], args[1:], err)
		}
	}
}

func cmdPython(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(filepath.Join(clientDir("sdk"), "bin", "python"), args...)
	if (err == nil) == neg {
		ts.Fatalf("python %v: %v", args, err)
	}
}

func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg, "capture")
	if len(args) != 1 {
		ts.Fatalf("usage: capture NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func refuse(ts *testscript.TestScript, neg bool, name string) {
	if neg {
		ts.Fatalf("! %s makes no sense", name)
	}
}
