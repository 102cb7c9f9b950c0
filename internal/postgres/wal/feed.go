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
	// hurryReads reads within hurryTime are a hurry: then messages may gather before each read.
	hurryReads = 16
	hurryTime  = 2 * time.Millisecond
	// room is the least that is read at once.
	room = 4 << 10
)

// pace is how a feed reads in a hurry.
type pace struct {
	gather time.Duration // how long messages gather
	least  int           // bytes; when fewer come between two pauses the hurry is over
	plenty int           // bytes; a read that found so many is followed by another one at once
	window int           // bytes of the socket's buffer; 0: as the system has it
}

var (
	farPace = pace{gather: 500 * time.Microsecond, least: 4 << 10, plenty: 64 << 10}
	// nearPace is for a server on the same machine: there what waits at its end follows at once when
	// there is room, so that a small buffer costs no speed. When it is full, messages gather at the
	// server's end, where each then costs a copy, not a packet: half of what its sending takes, and
	// half of what our reading takes.
	nearPace = pace{gather: 8 * time.Millisecond, least: 32 << 10, plenty: 16 << 10, window: 32 << 10}
)

var errMessage = errors.New("the source server sent what is no message of its protocol")

// feed takes the messages of PostgreSQL's protocol off a connection that was hijacked when nothing
// was on its way. The receiver's own reader, because a system call for each of a small transaction's
// messages costs both sides more than everything else that is done with it.
type feed struct {
	conn   net.Conn
	socket syscall.RawConn // nil where nothing is paced: see newFeed
	rest   func()          // called before each read; may be nil
	buf    []byte
	r, w   int // what is in buf and not taken

	pace     pace
	reads    int       // since
	since    time.Time //
	hurry    bool
	full     bool // the last read found plenty
	gathered int  // bytes since the last pause
}

// newFeed paces TCP without TLS only: TLS yields a message at a time however many are at hand, and the
// buffer of a local socket holds too few of them for a pause.
func newFeed(conn net.Conn) *feed {
	f := &feed{conn: conn, buf: make([]byte, feedSize), pace: farPace}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return f
	}
	socket, err := tcp.SyscallConn()
	if err != nil {
		return f // closed; the first read says so
	}
	f.socket = socket
	if addr, ok := tcp.RemoteAddr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		f.pace = nearPace
		f.set(syscall.SO_RCVBUF, f.pace.window)
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
	if len(f.buf)-f.w < min(need, room) || len(f.buf)-f.r < min(need, feedSize) {
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
	f.gathered += n
	f.full = n >= f.pace.plenty
	if n > 0 {
		return nil
	}
	return err
}

// pause lets messages gather where they come in a hurry. While it does, their coming wakes nobody.
func (f *feed) pause() {
	switch {
	case f.full || f.socket == nil:
	case f.hurry && f.gathered >= f.pace.least:
		f.gathered = 0
		f.set(syscall.SO_RCVLOWAT, max(f.pace.plenty, f.pace.window))
		time.Sleep(f.pace.gather)
		f.set(syscall.SO_RCVLOWAT, 1)
	default:
		f.hurry = false
		if now := time.Now(); now.Sub(f.since) > hurryTime {
			f.since, f.reads, f.gathered = now, 0, 0
		}
		if f.reads++; f.reads > hurryReads {
			f.hurry, f.reads, f.gathered = true, 0, f.pace.least
		}
	}
}

// set sets an option of the socket.
func (f *feed) set(option, n int) {
	_ = f.socket.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, n)
	})
}
