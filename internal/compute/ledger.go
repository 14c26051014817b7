package compute

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"lido.dev/lido/internal/arm"
)

// ledger accounts for the memory that machines were given, so that a new one never takes what running ones have.
type ledger struct {
	mu    sync.Mutex
	limit int64
	used  int64
	byUID map[string]int64 // uid of the instance's document -> bytes; whichever of its machines has them

	waiting map[string]bool // uids of instances that were refused memory and have not got any since
}

func newLedger(limit int64) *ledger {
	return &ledger{limit: limit, byUID: map[string]int64{}, waiting: map[string]bool{}}
}

// reserve takes memory for an instance, or says why it cannot. What the instance has already is counted.
func (l *ledger) reserve(uid string, bytes int64, size string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	more := bytes - l.byUID[uid]
	if free := l.limit - l.used; more > max(free, 0) {
		l.waiting[uid] = true
		return arm.Conflict(codeAllocation, "Allocation failed. A machine of size %s asks for %s of memory, but only %s of %s are free on this host (%d machines hold the rest). Delete or deallocate instances, choose a smaller size, or raise the overcommit factor in lido's configuration.",
			size, gib(bytes), gib(max(free, 0)), gib(l.limit), len(l.byUID))
	}
	l.byUID[uid], l.used = bytes, l.used+more
	delete(l.waiting, uid)
	return nil
}

// await notes an instance that was refused memory, perhaps by an earlier lido.
func (l *ledger) await(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[uid] = true
}

// forget is told of an instance that is gone.
func (l *ledger) forget(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, uid)
}

// adopt accounts for a machine that is there already, whether or not it fits.
func (l *ledger) adopt(uid string, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if more := bytes - l.byUID[uid]; more > 0 {
		l.byUID[uid], l.used = bytes, l.used+more
	}
}

// release gives an instance's memory back and tells whether somebody waits for it.
func (l *ledger) release(uid string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, ok := l.byUID[uid]
	delete(l.byUID, uid)
	l.used -= n
	return ok && len(l.waiting) > 0
}

func gib(n int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<30)), ".0") + " GiB"
}

// hostMemory returns the host's memory in bytes.
func hostMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// usage returns the bytes that are given and those that can be.
func (l *ledger) usage() (used, limit int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.limit
}
