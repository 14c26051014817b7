//go:build root

package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lido.dev/lido/internal/image/imagetest"
)

// TestJobsKilledAtRandom kills lido while jobs are submitted and run on two machines, again and again. Each job leaves
// a line in a file of its own in the share: in the end there is exactly one in each.
func TestJobsKilledAtRandom(t *testing.T) {
	imagetest.Base(t)
	rounds, seed := envInt("LIDO_CRASH_ROUNDS", 8), envInt("LIDO_CRASH_SEED", int(time.Now().UnixNano()&0xffffff))
	t.Logf("LIDO_CRASH_SEED=%d LIDO_CRASH_ROUNDS=%d", seed, rounds)
	l := newVictim(t, rand.New(rand.NewPCG(uint64(seed), 1)))
	l.start()
	l.makeCluster()
	l.eventually("two nodes are idle", l.nodesIdle)
	const perRound = 8
	for i := range rounds {
		for n := range perRound {
			l.submit(i*perRound + n)
		}
		time.Sleep(time.Duration(l.rnd.IntN(700)) * time.Millisecond)
		l.kill()
		l.start()
	}
	for n := range rounds * perRound {
		l.eventually(fmt.Sprintf("job %d has ended", n), func() error { return l.jobEnded(n) })
	}
	l.call("DELETE", l.group(), nil, 202, 204, 404)
	l.eventually("the group is gone", func() error { return l.want("GET", l.group(), 404) })
}

// kill kills lido.
func (l *victim) kill() {
	if err := syscall.Kill(l.pid, syscall.SIGKILL); err != nil {
		l.Fatal(err)
	}
	for syscall.Kill(l.pid, 0) == nil {
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *victim) workspace() string {
	return l.group() + "/providers/Microsoft.BatchAI/workspaces/w"
}

// makeCluster makes a share, and two nodes that have it.
func (l *victim) makeCluster() {
	type object = map[string]any
	l.call("PUT", l.group(), object{"location": "local"}, 200, 201)
	account := l.group() + "/providers/Microsoft.Storage/storageAccounts/effects"
	l.call("PUT", account, object{"location": "local", "sku": object{"name": "Standard_LRS"}, "kind": "StorageV2"}, 200, 201, 202)
	l.call("PUT", account+"/fileServices/default/shares/work", object{"properties": object{}}, 200, 201)
	var keys struct{ Keys []struct{ Value string } }
	if err := json.Unmarshal(l.call("POST", account+"/listKeys", nil, 200), &keys); err != nil || len(keys.Keys) == 0 {
		l.Fatalf("keys: %v", err)
	}
	l.call("PUT", l.workspace(), object{"location": "local"}, 200)
	l.call("PUT", l.workspace()+"/experiments/e", nil, 200)
	l.call("PUT", l.workspace()+"/clusters/c", object{"properties": object{
		"vmSize": "Standard_B1s", "scaleSettings": object{"manual": object{"targetNodeCount": 2}},
		"virtualMachineConfiguration": object{"imageReference": object{"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS"}},
		"userAccountSettings":         object{"adminUserName": "ada", "adminUserPassword": "Hush-hush-hush-1"},
		"nodeSetup": object{"mountVolumes": object{"azureFileShares": []object{{"accountName": "effects", "relativeMountPath": "work",
			"azureFileUrl": "https://effects.file.core.windows.net/work", "credentials": object{"accountKey": keys.Keys[0].Value}}}}},
	}}, 200, 202)
}

func (l *victim) nodesIdle() error {
	b := l.call("GET", l.workspace()+"/clusters/c", nil, 200)
	if !strings.Contains(string(b), `"idleNodeCount":2`) {
		return fmt.Errorf("the cluster: %.2000s", b)
	}
	return nil
}

// submit submits a job; every fourth one takes both nodes, every fifth fails.
func (l *victim) submit(n int) {
	type object = map[string]any
	nodes := 1
	if n%4 == 3 {
		nodes = 2
	}
	command := fmt.Sprintf("echo $RANDOM >> $AZ_BATCHAI_MOUNT_ROOT/work/j%d; sleep 0.%d; exit %d", n, n%3, codeOf(n))
	l.call("PUT", fmt.Sprintf("%s/experiments/e/jobs/j%d", l.workspace(), n), object{"properties": object{
		"cluster": object{"id": l.workspace() + "/clusters/c"}, "nodeCount": nodes, "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/work/out",
		"customToolkitSettings": object{"commandLine": command}}}, 200, 202)
}

func codeOf(n int) int {
	if n%5 == 4 {
		return 9
	}
	return 0
}

// jobEnded tells what is missing to a job's end. One that ran twice, or ended otherwise than it should, ends the test.
func (l *victim) jobEnded(n int) error {
	var job struct {
		Properties struct {
			ExecutionState string
			ExecutionInfo  struct {
				ExitCode *int
				Errors   any
			}
		}
	}
	b := l.call("GET", fmt.Sprintf("%s/experiments/e/jobs/j%d", l.workspace(), n), nil, 200)
	if err := json.Unmarshal(b, &job); err != nil {
		return err
	}
	switch p := job.Properties; {
	case p.ExecutionState != "succeeded" && p.ExecutionState != "failed":
		return fmt.Errorf("it is %s", p.ExecutionState)
	case p.ExecutionInfo.ExitCode == nil || *p.ExecutionInfo.ExitCode != codeOf(n):
		l.Fatalf("job %d ended wrong: %s", n, b)
	}
	effect, err := os.ReadFile(filepath.Join(l.data, "shares", "effects", "work", fmt.Sprintf("j%d", n)))
	if lines := strings.Count(string(effect), "\n"); err != nil || lines != 1 {
		l.Fatalf("job %d left %d lines (%v): %s", n, lines, err, b)
	}
	return nil
}
