package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// box is a job's container in this node: a mount namespace whose root is the image's, with a layer of the job's own on
// top that is shared by its tasks.
type box struct {
	spec  *Container
	ns    *os.File
	layer string // directory of the own layer, removed with the box
}

// boxes is where containers' own layers are: on a disk where there is one that a layer can be on.
const boxes = "/var/lib/lido/boxes"

// boxPoint is where a container's root is put together. Only the container's own mount namespace sees it.
const boxPoint = "/run/lido-box"

// within calls f on a thread that is in the job's container, which is made if this is the job's first task there.
func (a *Agent) within(j *job, c *Container, f func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := j.enterBox(c)
		if err != nil {
			err = fmt.Errorf("container of image %s: %w", c.Image, err)
		} else {
			err = f()
		}
		errc <- err
	}()
	return <-errc
}

// enterBox moves this thread into the job's container.
func (j *job) enterBox(c *Container) error {
	j.boxMu.Lock()
	defer j.boxMu.Unlock()
	if b := j.boxes[c.Root]; b != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Setns(int(b.ns.Fd()), unix.CLONE_NEWNS)
	}
	b, err := newBox(c, cgroupName(j.name+c.Root))
	if err != nil {
		return err
	}
	if j.boxes == nil {
		j.boxes = map[string]*box{}
	}
	j.boxes[c.Root] = b
	return nil
}

// newBox makes a container and leaves this thread in it.
func newBox(c *Container, name string) (*box, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, fmt.Errorf("separate mounts: %w", err)
	}
	ns, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	b := &box{spec: c, ns: ns, layer: filepath.Join(boxes, name)}
	if err := b.build(c); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *box) close() {
	b.ns.Close()
	go os.RemoveAll(b.layer)
}

// build puts the container's root together and makes it this thread's.
func (b *box) build(c *Container) error {
	pieces, err := takePieces(c)
	if err != nil {
		return err
	}
	defer closePieces(pieces)
	if err := b.mountRoot(c.Root); err != nil {
		return err
	}
	if err := pivot(boxPoint); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	for _, p := range pieces { // from here on, symbolic links of the image stay in it
		if err := p.place(); err != nil {
			return fmt.Errorf("put %s in place: %w", p.path, err)
		}
	}
	size := c.ShmSize
	if size == 0 {
		size = 64 << 20
	}
	if err := unix.Mount("shm", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size)); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

// mountRoot joins the image's root and the own layer at boxPoint. The node's own disk is often an overlay already, on
// which there can be no other; then the layer is in memory.
func (b *box) mountRoot(root string) error {
	if err := errors.Join(os.RemoveAll(b.layer), os.MkdirAll(b.layer, 0o711), os.MkdirAll(boxPoint, 0o755)); err != nil {
		return err
	}
	err := b.overlay(root)
	if err == nil {
		return nil
	}
	if e := unix.Mount("layer", b.layer, "tmpfs", unix.MS_NODEV, "mode=711"); e != nil {
		return errors.Join(err, e)
	}
	return b.overlay(root)
}

func (b *box) overlay(root string) error {
	upper, work := filepath.Join(b.layer, "upper"), filepath.Join(b.layer, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", root, upper, work)
	if err := unix.Mount("overlay", boxPoint, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount the image's root and a layer on it: %w", err)
	}
	if err := unix.Access(boxPoint+"/.", unix.W_OK); err != nil {
		unix.Unmount(boxPoint, unix.MNT_DETACH)
		return fmt.Errorf("the layer on the image's root: %w", err)
	}
	return nil
}

// pivot makes a mount this thread's root, and lets go of the old one.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// piece is something of the node that appears in the container, too: a copy of its mounts.
type piece struct {
	path string
	dir  bool
	fd   int
}

// container is what a job's container in this node is made of; nil if it has none.
func (j *job) container() *Container {
	j.boxMu.Lock()
	defer j.boxMu.Unlock()
	for _, b := range j.boxes {
		return b.spec
	}
	return nil
}

// takePieces copies what a container gets of the node: the last two are for MPI, which starts its daemons on other nodes by them.
func takePieces(c *Container) (pieces []piece, err error) {
	for _, p := range append([]string{"/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", Program, EnterSocket}, c.Binds...) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, p, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			closePieces(pieces)
			return nil, fmt.Errorf("%s of the node: %w", p, err)
		}
		var st unix.Stat_t
		unix.Fstat(fd, &st)
		pieces = append(pieces, piece{path: p, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR, fd: fd})
	}
	return pieces, nil
}

func closePieces(pieces []piece) {
	for _, p := range pieces {
		unix.Close(p.fd)
	}
}

// place attaches the piece, in a root that is this thread's already.
func (p *piece) place() error {
	if p.dir {
		if err := os.MkdirAll(p.path, 0o755); err != nil {
			return err
		}
	} else if err := p.placeFile(); err != nil {
		return err
	}
	return unix.MoveMount(p.fd, "", unix.AT_FDCWD, p.path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// placeFile makes a plain file to attach to, also in place of a link.
func (p *piece) placeFile() error {
	if info, err := os.Lstat(p.path); err == nil && !info.Mode().IsRegular() {
		os.Remove(p.path)
	}
	os.MkdirAll(filepath.Dir(p.path), 0o755)
	f, err := os.OpenFile(p.path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// closeBoxes lets go of a job's containers.
func (j *job) closeBoxes() {
	j.boxMu.Lock()
	defer j.boxMu.Unlock()
	for _, b := range j.boxes {
		b.close()
	}
	j.boxes = nil
}

// userWithin finds the image's user in the container that this thread is in: NAME, UID, NAME:GROUP or UID:GID.
func userWithin(name string) (*account, error) {
	if name == "" {
		name = "0"
	}
	user, group, hasGroup := strings.Cut(name, ":")
	a := &account{name: user, home: "/"}
	found, err := entry("/etc/passwd", user, 2)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	switch {
	case len(found) >= 6:
		uid, err1 := strconv.ParseUint(found[2], 10, 32)
		gid, err2 := strconv.ParseUint(found[3], 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		a.name, a.uid, a.gid, a.home = found[0], uint32(uid), uint32(gid), found[5]
	default:
		uid, err := strconv.ParseUint(user, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the image's user %q is not in its /etc/passwd", name)
		}
		a.uid = uint32(uid)
	}
	if a.uid == 0 && a.home == "/" {
		a.home = "/root"
	}
	if hasGroup {
		gid, err := strconv.ParseUint(group, 10, 32)
		if found, _ := entry("/etc/group", group, 2); len(found) > 2 {
			gid, err = strconv.ParseUint(found[2], 10, 32)
		}
		if err != nil {
			return nil, fmt.Errorf("the image's group %q is not in its /etc/group", group)
		}
		a.gid = uint32(gid)
	}
	return a, nil
}

// entry is the line of a file like passwd whose first field is name, or whose field of ids is.
func entry(path, name string, id int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if f := strings.Split(s.Text(), ":"); len(f) > id && (f[0] == name || f[id] == name) {
			return f, nil
		}
	}
	return nil, nil
}
