package node

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampler looks at a task's processes from time to time, for the use that no cgroup counts, or not yet.
type sampler struct {
	stop chan struct{}
	once sync.Once

	mu   sync.Mutex
	peak int64
	io   map[int]Usage // by process, as last seen
}

// The first look is late enough that short tasks are never looked at; the kernel tells their peak when they end.
const (
	firstLook = 250 * time.Millisecond
	lastLook  = 4 * time.Second
)

// sample looks at the tree until end is called.
func sample(t *tree) *sampler {
	s := &sampler{stop: make(chan struct{}), io: map[int]Usage{}}
	go func() {
		for wait := firstLook; ; wait = min(2*wait, lastLook) {
			select {
			case <-s.stop:
				return
			case <-time.After(wait):
				s.look(t.pids())
			}
		}
	}()
	return s
}

func (s *sampler) end() { s.once.Do(func() { close(s.stop) }) }

func (s *sampler) look(pids []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own, shared int64
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		o, c := resident(dir)
		own += o
		shared = max(shared, c)
		io, _ := os.ReadFile(dir + "/io")
		s.io[pid] = Usage{Read: field(io, "read_bytes:"), Written: field(io, "write_bytes:")}
	}
	s.peak = max(s.peak, own+shared)
}

// seen is the peak, and the most that one process with the children that it waited for has read and written.
func (s *sampler) seen() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{PeakMemory: s.peak}
	for _, p := range s.io {
		u.Read, u.Written = max(u.Read, p.Read), max(u.Written, p.Written)
	}
	return u
}

// resident is a process's memory: its own, and that which it may share with others.
func resident(dir string) (own, shared int64) {
	b, _ := os.ReadFile(dir + "/statm")
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return 0, 0
	}
	all, _ := strconv.ParseInt(f[1], 10, 64)
	common, _ := strconv.ParseInt(f[2], 10, 64)
	page := int64(os.Getpagesize())
	return (all - common) * page, common * page
}
