//go:build root

package image_test

import (
	_ "embed"
	"os"
	"strings"
	"testing"

	"lido.dev/lido/internal/image/imagetest"
	"lido.dev/lido/internal/machine"
)

//go:embed testdata/jupyter.py
var jupyterClient string

func TestJupyter(t *testing.T) {
	share := t.TempDir()
	os.Chown(share, 1000, 1000)
	g := boot(t, engine(t), imagetest.DSVM(t), func(s *machine.Spec) {
		s.Memory, s.CPUs = 2<<30, 2
		s.Accounts = append(s.Accounts, machine.Account{Name: "bob", PasswordHash: crypt(t, "Pass-w1rd")})
		s.Files = append(s.Files, certificate(t)...)
		s.Files = append(s.Files, machine.File{Path: "/opt/jupyter.py", Data: []byte(jupyterClient)})
		s.Mounts = []machine.Mount{{Source: share, Target: "/home/alice/notebooks/remote"}}
	})
	waitFor(t, "JupyterHub", func() bool {
		code, _, _ := g.try("curl -skf -o /dev/null https://127.0.0.1:8000/hub/login")
		return code == 0
	})
	t.Log(g.must("systemd-analyze; systemctl show -p ActiveEnterTimestampMonotonic jupyterhub; journalctl -b -u jupyterhub -o short-monotonic | grep -m1 'now running'"))

	client := "python3 /opt/jupyter.py "
	if _, _, errs := g.try(client + "alice wrong python3 . ''"); !strings.Contains(errs, "REFUSED") {
		t.Errorf("a wrong password: %s", errs)
	}
	got := g.must(client + `alice Pass-w0rd python3 remote 'import numpy, pandas, scipy, sklearn, matplotlib.pyplot, os
print(numpy.arange(4).sum(), os.getcwd(), os.getuid())'`)
	if got != "6 /home/alice/notebooks/remote 1000" {
		t.Errorf("the Python notebook printed %q", got)
	}
	if _, err := os.Stat(share + "/n.ipynb"); err != nil {
		t.Errorf("the notebook saved under remote: %v", err)
	}
	got = g.must(client + `bob Pass-w1rd ir . 'cat(mean(c(1, 2, 3)), .libPaths()[1])'`)
	if !strings.HasPrefix(got, "2 /home/bob/R/") {
		t.Errorf("the R notebook printed %q", got)
	}
	if failed := g.must("systemctl list-units --failed --plain --no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}

	g.must("systemctl restart jupyterhub")
	if code, out, _ := g.try("pgrep -u bob -f jupyterhub.singleuser"); code != 0 || out == "" {
		t.Error("a restart of the hub took bob's server away")
	}
	got = g.must(client + `bob Pass-w1rd python3 . 'print("again")'`)
	if got != "again" {
		t.Errorf("after a restart of the hub the notebook printed %q", got)
	}
}

func TestDSVMTools(t *testing.T) {
	g := boot(t, engine(t), imagetest.DSVM(t), nil)
	for script, want := range map[string]string{
		`mpirun -n 2 python3 -c 'from mpi4py import MPI; c = MPI.COMM_WORLD; print(c.allreduce(c.rank + 1))'`:       "3\n3",
		`printf '#include <mpi.h>\nint main() { return MPI_Init(0, 0); }' >a.c && mpicc a.c -o a && ./a && echo ok`: "ok",
		`python -c 'import sys; print(sys.prefix)'`:                                                                 "/usr",
		`git --version >v && tmux -V >>v && gcc --version >>v && echo ok`:                                           "ok",
		`Rscript -e 'cat(1 + 1)'`:                                    "2",
		`test -d notebooks && ! test -e notebooks/remote && echo ok`: "ok",
	} {
		if code, out, errs := g.as("alice", "sh", "-c", script); code != 0 || strings.TrimSpace(out) != want {
			t.Errorf("%s: exit code %d, got %q, want %q\n%s", script, code, out, want, errs)
		}
	}
	if code, _, _ := g.try("journalctl -u jupyterhub | grep -q 'waiting for /etc/lido/tls/cert.pem'"); code != 0 {
		t.Error("without a certificate JupyterHub does not say what it waits for")
	}
}

// TestPersonsOwnPackages: what a person installs is theirs alone and comes before the image's.
func TestPersonsOwnPackages(t *testing.T) {
	g := boot(t, engine(t), imagetest.DSVM(t), func(s *machine.Spec) {
		s.Files = append(s.Files, machine.File{Path: "/opt/wheel.py", Data: []byte(wheelMaker)})
	})
	g.must("mkdir -m 777 /opt/w && python3 /opt/wheel.py /opt/w six 99.0 && python3 /opt/wheel.py /opt/w lidotest 1.0")
	alice := func(script string) string {
		t.Helper()
		code, out, errs := g.as("alice", "bash", "-lc", script)
		if code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", script, code, out, errs)
		}
		return strings.TrimSpace(out)
	}
	alice("pip install --no-index --find-links /opt/w lidotest six==99.0")
	if got := alice("python3 -c 'import six, lidotest; print(six.__version__, lidotest.__file__)'"); got != "99.0 /home/alice/.local/lib/python3.11/site-packages/lidotest.py" {
		t.Errorf("got %q", got)
	}
	if got := alice("command -v lidotest"); got != "/home/alice/.local/bin/lidotest" {
		t.Errorf("its program: %q", got)
	}
	if got := g.must("cd / && python3 -c 'import six; print(six.__version__)'"); got == "99.0" {
		t.Error("alice's package is everyone's")
	}
	alice("pip uninstall -y six && python3 -c 'import six; assert six.__version__ != \"99.0\"'")
	alice("sudo pip install --no-index --find-links /opt/w lidotest 2>&1")
	g.must("cd / && python3 -c 'import lidotest; assert lidotest.__file__.startswith(\"/usr/local/\")'")
}

const wheelMaker = `
import sys, zipfile
place, name, version = sys.argv[1:]
with zipfile.ZipFile(f"{place}/{name}-{version}-py3-none-any.whl", "w") as z:
    z.writestr(f"{name}.py", f"__version__ = '{version}'\ndef main(): pass\n")
    info = f"{name}-{version}.dist-info"
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
    z.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in z.namelist()) + f"{info}/RECORD,,\n")
`
