package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

const (
	// feedSize is how much is read at once, and maxMessage what one message may have: rows are
	// limited by the server to a gigabyte.
	feedSize   = 256 << 10
	maxMessage = 1<<30 + 1<<20

	// A server makes a system call of each message, and wakes its reader each time. More than
	// hurryReads reads within hurryTime are a hurry: then messages may gather for gatherTime before
	// each read, until a read finds fewer than hurryBytes.
	hurryReads = 16
	hurryTime  = 2 * time.Millisecond
	gatherTime = 500 * time.Microsecond
	hurryBytes = 4 << 10
	// A read that found this much need not wait for more.
	plenty = 64 << 10
)

var errMessage = errors.New("the source server sent what is no message of its protocol")

// feed takes the messages of PostgreSQL's protocol off a connection that was hijacked when nothing
// was on its way. The receiver's own reader, because a system call for each of a small transaction's
// messages costs both sides more than everything else that is done with it.
type feed struct {
	conn   net.Conn
	socket syscall.RawConn // nil where reading does not go straight to it (TLS)
	rest   func()          // called before each read; may be nil
	buf    []byte
	r, w   int // what is in buf and not taken

	reads int       // since
	since time.Time //
	hurry bool
	full  bool // the last read found plenty
}

func newFeed(conn net.Conn) *feed {
	f := &feed{conn: conn, buf: make([]byte, feedSize)}
	if s, ok := conn.(syscall.Conn); ok {
		f.socket, _ = s.SyscallConn()
	}
	return f
}

// next returns a message's type and body, which is valid until the next call.
func (f *feed) next() (kind byte, body []byte, err error) {
	for f.w-f.r < 5 {
		if err := f.fill(5); err != nil {
			return 0, nil, err
		}
	}
	size := binary.BigEndian.Uint32(f.buf[f.r+1:])
	if size < 4 || size > maxMessage {
		return 0, nil, fmt.Errorf("%w: %d bytes", errMessage, size)
	}
	for f.w-f.r < int(size)+1 {
		if err := f.fill(int(size) + 1); err != nil {
			return 0, nil, err
		}
	}
	kind, body = f.buf[f.r], f.buf[f.r+5:f.r+1+int(size)]
	f.r += 1 + int(size)
	return kind, body, nil
}

// fill reads what there is of the need bytes that are to stand in the buffer from f.r on. The buffer
// grows with what has come, not with what is announced.
func (f *feed) fill(need int) error {
	if f.r == f.w {
		f.r, f.w = 0, 0
		if len(f.buf) > feedSize && need <= feedSize {
			f.buf = make([]byte, feedSize)
		}
	}
	if len(f.buf)-f.w < min(need, hurryBytes) || len(f.buf)-f.r < min(need, feedSize) {
		to := f.buf
		if need > len(to) && f.w-f.r > len(to)/2 {
			to = make([]byte, min(need, 2*len(to)))
		}
		f.w = copy(to, f.buf[f.r:f.w])
		f.buf, f.r = to, 0
	}
	if f.rest != nil {
		f.rest()
	}
	f.pause()
	n, err := f.conn.Read(f.buf[f.w:])
	f.w += n
	f.full = n >= plenty
	if n < hurryBytes {
		f.hurry = false
	}
	if n > 0 {
		return nil
	}
	return err
}

// pause lets messages gather where they come in a hurry. While it does, their coming wakes nobody.
func (f *feed) pause() {
	if f.full {
		return
	}
	if !f.hurry {
		if now := time.Now(); now.Sub(f.since) > hurryTime {
			f.since, f.reads = now, 0
		}
		f.reads++
		f.hurry = f.reads > hurryReads
		return
	}
	f.wakeAt(plenty)
	time.Sleep(gatherTime)
	f.wakeAt(1)
}

// wakeAt sets how many bytes wake who waits for the socket.
func (f *feed) wakeAt(n int) {
	if f.socket != nil {
		_ = f.socket.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n)
		})
	}
}
