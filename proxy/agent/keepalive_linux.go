package agent

import (
	"net"
	"syscall"
	"time"
)

// unansweredFor is how long what was sent to the control plane may stay
// unacknowledged by its host: the reports of each second find a server that has
// vanished, which TCP alone would wait a quarter of an hour for.
const unansweredFor = 30 * time.Second

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h.
const tcpUserTimeout = 18

func boundSilence(nc net.Conn) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unansweredFor.Milliseconds()))
	})
}
