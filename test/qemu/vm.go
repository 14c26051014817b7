//go:build qemu

package qemu

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// vm is a booted virtual machine whose agent answers.
type vm struct {
	dir  string
	cmd  *exec.Cmd
	port net.Conn
	out  *bufio.Reader
	gone chan struct{} // closed when QEMU ended
}

// boot starts a virtual machine and waits for its agent. It ends with the test.
func boot(t testing.TB, d disks, patience time.Duration) *vm {
	t.Helper()
	v := &vm{dir: t.TempDir(), gone: make(chan struct{})}
	v.cmd = exec.Command("qemu-system-x86_64", v.args(d)...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	logFile, err := os.Create(filepath.Join(v.dir, "qemu.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	v.cmd.Stdout, v.cmd.Stderr = logFile, logFile
	start := time.Now()
	if err := v.cmd.Start(); err != nil {
		t.Fatalf("start QEMU (apt-get install qemu-system-x86): %v", err)
	}
	go func() { v.cmd.Wait(); close(v.gone) }()
	t.Cleanup(func() { v.stop(t) })
	if err := v.connect(); err != nil {
		t.Fatalf("%v\n%s", err, v.tail("qemu.log"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := v.answer(ctx, t.Log); err != nil {
		t.Fatalf("the virtual machine did not come up: %v\n%s", err, v.tail("console.log"))
	}
	t.Logf("booted in %v", time.Since(start).Round(time.Second))
	return v
}

func (v *vm) args(d disks) []string {
	args := []string{"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "4096",
		"-nodefaults", "-display", "none", "-nic", "none",
		"-serial", "file:" + filepath.Join(v.dir, "console.log"),
		"-kernel", d.kernel, "-initrd", d.initrd,
		"-append", "root=LABEL=host rw console=ttyS0 quiet mitigations=off systemd.show_status=true",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,server=on,wait=off,path=" + filepath.Join(v.dir, "agent.sock"),
		"-device", "virtserialport,chardev=agent,name=lido.test"}
	for _, disk := range []string{d.host, d.cache, d.bins} {
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,cache=unsafe,file="+disk)
	}
	return args
}

func (v *vm) connect() (err error) {
	for range 200 {
		if v.port, err = net.Dial("unix", filepath.Join(v.dir, "agent.sock")); err == nil {
			v.out = bufio.NewReader(v.port)
			return nil
		}
		select {
		case <-v.gone:
			return errors.New("QEMU ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return err
}

// reboot restarts the system inside, as an operator does, and waits for its agent. The disks keep what was written.
func (v *vm) reboot(t testing.TB, patience time.Duration) {
	t.Helper()
	v.run(t, time.Minute, "systemctl --no-block reboot")
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for answer := ""; answer != "ready"; {
		var err error
		if answer, err = v.answer(ctx, t.Log); err != nil {
			t.Fatalf("the virtual machine did not come up again: %v\n%s", err, v.tail("console.log"))
		}
	}
	t.Logf("up again after %v", time.Since(start).Round(time.Second))
}

// run runs a script inside, with bash, and fails the test when it does not end well within the time.
func (v *vm) run(t testing.TB, patience time.Duration, script string) string {
	t.Helper()
	start := time.Now()
	out, code, err := v.try(t, patience, script)
	if err != nil {
		t.Fatalf("%v\n%s", err, v.tail("console.log"))
	}
	if code != "0" {
		t.Fatalf("exit code %s after %v of:\n%s", code, time.Since(start).Round(time.Second), script)
	}
	return out
}

// try is run for scripts that may fail.
func (v *vm) try(t testing.TB, patience time.Duration, script string) (out, code string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line := base64.StdEncoding.EncodeToString([]byte(script)) + "\n"
	if _, err := v.port.Write([]byte(line)); err != nil {
		return "", "", err
	}
	var b strings.Builder
	code, err = v.answer(ctx, func(a ...any) {
		t.Log(a...)
		fmt.Fprintln(&b, a...)
	})
	return b.String(), code, err
}

// answer reads lines of output until the one with the exit code.
func (v *vm) answer(ctx context.Context, each func(...any)) (code string, err error) {
	stop := context.AfterFunc(ctx, func() { v.port.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		line, err := v.out.ReadString('\n')
		if err != nil {
			return "", errors.Join(ctx.Err(), fmt.Errorf("no answer from the virtual machine: %w", err))
		}
		line = strings.TrimRight(line, "\r\n")
		if code, ok := strings.CutPrefix(line, "= "); ok {
			return code, nil
		}
		each(strings.TrimPrefix(line, "| "))
	}
}

func (v *vm) stop(t testing.TB) {
	if t.Failed() {
		t.Logf("the end of the console:\n%s", v.tail("console.log"))
	}
	if v.port != nil {
		v.port.Close()
	}
	v.cmd.Process.Kill()
	<-v.gone
}

func (v *vm) tail(name string) string {
	data, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-3000):])
}
