package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// kept is how much of a task's output its report keeps, if it goes to no file.
const kept = 16 << 10

// output is where a task's processes write.
type output struct {
	null, stdout, stderr *os.File
	read                 *os.File // end of the pipe for what goes to no file; may be nil
	done                 chan struct{}
	errors               *os.File // stderr's file, to read what the task wrote there; may be nil
	from                 int64    // where that begins

	mu   sync.Mutex
	text []byte
}

// openOutput opens a task's files as the user, to append.
func openOutput(t *Task, who *account) (*output, error) {
	o := &output{}
	err := o.open(t, who)
	if err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *output) open(t *Task, who *account) (err error) {
	if o.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	var pipe *os.File
	if t.Stdout == "" || t.Stderr == "" {
		if o.read, pipe, err = os.Pipe(); err != nil {
			return err
		}
	}
	o.stdout, o.stderr = pipe, pipe
	if t.Stdout != "" {
		if o.stdout, err = appendTo(t.Stdout, who); err != nil {
			return err
		}
	}
	switch {
	case t.Stderr == "":
	case t.Stderr == t.Stdout:
		o.stderr = o.stdout
	default:
		o.stderr, err = appendTo(t.Stderr, who)
	}
	if err == nil && t.Stderr != "" {
		o.watchErrors(t.Stderr, who)
	}
	return err
}

// watchErrors opens what is written to stderr's file from now on.
func (o *output) watchErrors(path string, who *account) {
	who.do(func() (err error) {
		o.errors, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		return err
	})
	a, err1 := o.errors.Stat()
	b, err2 := o.stderr.Stat()
	if err1 != nil || err2 != nil || !os.SameFile(a, b) || !a.Mode().IsRegular() {
		o.errors.Close()
		o.errors = nil
		return
	}
	o.from = a.Size()
}

// lastErrors is how much of stderr's file a failed task's report has.
const lastErrors = 2 << 10

func (o *output) errorTail() string {
	info, err := o.errors.Stat()
	if err != nil {
		return ""
	}
	from := max(o.from, info.Size()-lastErrors)
	b := make([]byte, min(max(info.Size()-from, 0), lastErrors))
	n, _ := o.errors.ReadAt(b, from)
	return strings.ToValidUTF8(string(b[:n]), "�")
}

// leastRoom is how many bytes a file system has at least that passes for one with room.
const leastRoom = 64 << 10

// full tells whether the file system that the task writes to has no room left. Processes write there themselves, so
// nobody but they is told that a write failed, and not all of them say so. A write may fail while a few blocks are left.
func (o *output) full() bool {
	var st unix.Statfs_t
	if o.errors == nil || unix.Fstatfs(int(o.errors.Fd()), &st) != nil {
		return false
	}
	bounded := st.Blocks > 0 // some file systems, by FUSE for example, do not tell
	return bounded && int64(st.Bavail)*st.Bsize < leastRoom || st.Files > 0 && st.Ffree == 0
}

// full is the path of what could not be made because there was no room for it.
func (f *failure) full() string {
	if errors.Is(f.err, unix.ENOSPC) || errors.Is(f.err, unix.EDQUOT) {
		return f.path
	}
	return ""
}

// appendTo opens a file as the user, in a directory that is made if it is not there.
func appendTo(path string, who *account) (f *os.File, err error) {
	open := func() error {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		return err
	}
	if err = who.do(open); os.IsNotExist(err) {
		if err = makeDir(filepath.Dir(path), who); err == nil {
			err = who.do(open)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s as %s: %w", path, who.name, reason(err))
	}
	return f, nil
}

// started closes what the processes hold now, and begins to read what goes to no file.
func (o *output) started() {
	read := o.read
	o.closeWriters()
	if read == nil {
		return
	}
	o.done = make(chan struct{})
	go func() {
		defer close(o.done)
		io.Copy(o, read)
	}()
}

// Write keeps the end of what was written.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if n := len(o.text) - kept; n > kept {
		o.text = append(o.text[:0], o.text[n:]...)
	}
	return len(p), nil
}

// tail is the end of what was written to no file, or of what a command that failed wrote to stderr's file. It is called
// when all processes have gone.
func (o *output) tail(failed bool) string {
	if o.errors != nil {
		if failed {
			return o.errorTail()
		}
		return ""
	}
	if o.done != nil {
		o.read.SetReadDeadline(time.Now().Add(time.Second)) // a process out of reach may hold the other end
		<-o.done
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.text[max(0, len(o.text)-kept):]), "�")
}

func (o *output) closeWriters() {
	for _, f := range []**os.File{&o.null, &o.stdout, &o.stderr} {
		(*f).Close() // nil and twice are errors, no more
		*f = nil
	}
}

func (o *output) close() {
	o.closeWriters()
	o.read.Close()
	o.errors.Close()
}

// note adds a line to the task's execution.log.
func (a *Agent) note(r *running, level, format string, args ...any) {
	if r.task.Log == "" || r.who == nil {
		return
	}
	f, err := appendTo(r.task.Log, r.who)
	if err != nil {
		a.Log.Warn("execution log", "task", r.task.ID, "err", err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s %s %s\n", a.Now().UTC().Format("2006-01-02T15:04:05.000Z"), level, fmt.Sprintf(format, args...))
}
