package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// quiet waits for moments in which the computer does nothing else, for as long as it has patience altogether.
type quiet struct {
	patience      time.Duration // what is left of it
	calls, missed int
}

// await waits until the CPUs were idle for a moment; without patience it does not even look.
func (q *quiet) await() {
	if q.patience <= 0 && q.calls == 0 {
		return
	}
	q.calls++
	for {
		start := time.Now()
		before := readCPUs()
		time.Sleep(150 * time.Millisecond)
		if readCPUs().idleSince(before) > 0.95 {
			return
		}
		if q.patience -= time.Since(start); q.patience <= 0 {
			q.missed++
			return
		}
	}
}

// String says how often the computer did nothing else.
func (q *quiet) String() string {
	if q.calls == 0 {
		return "Other programs were not waited for (-patience)."
	}
	return fmt.Sprintf("Before %d of %d loads the computer did nothing else.", q.calls-q.missed, q.calls)
}

// cpus is how long all CPUs together were idle, and all in all, in ticks.
type cpus struct{ idle, total float64 }

func readCPUs() (c cpus) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line)[1:] {
		var ticks float64
		fmt.Sscan(f, &ticks)
		c.total += ticks
		if i == 3 || i == 4 { // idle, and waiting for disks
			c.idle += ticks
		}
	}
	return c
}

func (c cpus) idleSince(b cpus) float64 {
	if c.total == b.total {
		return 1
	}
	return (c.idle - b.idle) / (c.total - b.total)
}
