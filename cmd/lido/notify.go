package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// machinesGoDown is how long machines have to end in order when the host goes down. lido's unit allows it 90 s in all.
const machinesGoDown = time.Minute

// hostGoesDown tells whether the host's systemd is about to power off or reboot.
func hostGoesDown() bool {
	out, _ := exec.Command("systemctl", "is-system-running").Output()
	return strings.TrimSpace(string(out)) == "stopping"
}

// notifySystemd tells systemd about this service's state (sd_notify(3)), if it was started by it.
func notifySystemd(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}
