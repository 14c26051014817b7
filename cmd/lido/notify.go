package main

import (
	"net"
	"os"
)

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
