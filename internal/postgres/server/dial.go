package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"
)

const (
	// How soon it shows that nobody answers any more on a connection on which we wait: a server or
	// a network that goes without a word would hold us up for hours.
	probeAfter = 15 * time.Second
	probeEvery = 10 * time.Second
	probes     = 4
)

// dialer makes connections that end within a minute where the other side is gone.
func dialer() *net.Dialer {
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: probes}}
}

// tcpUserTimeout is Linux's TCP_USER_TIMEOUT.
const tcpUserTimeout = 0x12

// LimitSilence ends a connection on which the other side's machine has not acknowledged within limit
// what was sent to it. While something is on its way nothing probes. It is for connections whose
// other side reads at all times: one that leaves much unread for that long looks dead, too.
func LimitSilence(conn net.Conn, limit time.Duration) error {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok || runtime.GOOS != "linux" {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("limit how long a server may be silent: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(limit.Milliseconds()))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("limit how long a server may be silent: %w", err)
	}
	return nil
}
