package server

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestSilenceIsLimited: the system is told to end a connection whose other side is gone. That it does
// cannot be tried where everything is on one machine.
func TestSilenceIsLimited(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: the limit of a silent connection. It is set on Linux only, whose numbers of socket options this reads")
	}
	conn, err := Connect(t.Context(), testenv.Postgres(t).URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(conn)
	tcp, ok := conn.PgConn().Conn().(*net.TCPConn)
	if !ok {
		t.Fatalf("%T", conn.PgConn().Conn())
	}
	if err := LimitSilence(tcp, time.Minute); err != nil {
		t.Fatal(err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, option, want int }{
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 10},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 4},
		{syscall.IPPROTO_TCP, tcpUserTimeout, 60_000},
	} {
		var have int
		if err := raw.Control(func(fd uintptr) { have, err = syscall.GetsockoptInt(int(fd), o.level, o.option) }); err != nil {
			t.Fatal(err)
		}
		if err != nil || have != o.want {
			t.Errorf("option %d of level %d is %d (%v), want %d", o.option, o.level, have, err, o.want)
		}
	}
}
