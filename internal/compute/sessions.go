package compute

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"lido.dev/lido/internal/machine"
)

// How often sessions are counted, how many machines at once, and how long one may take to answer.
const (
	countEvery    = 30 * time.Second
	countParallel = 4
	countTimeout  = 3 * time.Second
)

// countScript counts logins by SSH and people's running notebook servers. It reads /proc alone, so it works in every
// image and leaves no trace.
const countScript = `n=0
for f in /proc/[0-9]*/cmdline; do
	line=
	IFS= read -r line <"$f"
	case $line in
	"sshd: "*@* | "sshd-session: "*@* | *jupyterhub-singleuser*) n=$((n+1)) ;;
	esac
done 2>/dev/null
echo $n`

// count counts the sessions in a machine, tells the network, and returns the number; -1 if it cannot be known.
func (r *Room) count(ctx context.Context, key, instance, id string) int {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var out bytes.Buffer
	code, err := r.Engine.Exec(ctx, id, machine.Command{Args: []string{"/bin/sh", "-c", countScript}, Stdout: &out})
	if err != nil || code != 0 {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		n = 0 // a machine without a shell has no sessions
	}
	r.busy.set(key, n)
	r.Network.Busy(instance, n)
	return n
}

// countSessions counts in all running machines from time to time.
func (r *Room) countSessions() {
	for sleep(r.ctx, countEvery) == nil {
		infos, err := r.Engine.List(r.ctx)
		if err != nil {
			continue
		}
		r.countIn(r.ctx, infos)
	}
}

// countIn counts in the given machines, some at once.
func (r *Room) countIn(ctx context.Context, infos []machine.Info) {
	sem := semaphore.NewWeighted(countParallel)
	var wg sync.WaitGroup
	for _, m := range infos {
		instance := m.Spec.Labels[labelInstance]
		if instance == "" || m.State != machine.Running || sem.Acquire(ctx, 1) != nil {
			continue
		}
		wg.Go(func() {
			defer sem.Release(1)
			r.count(ctx, strings.ToLower(instance), instance, m.ID)
		})
	}
	wg.Wait()
}
