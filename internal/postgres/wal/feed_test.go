package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// framed is a message of the protocol.
func framed(kind byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(b, body...)
}

// loopback is a connection of a socket, the other end of which write fills.
func loopback(t *testing.T, write func(c net.Conn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		write(c)
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	return c
}

// TestFeedTakesEveryMessage sends messages of many sizes in pieces of many sizes: one by one, as a
// server does, and cut anywhere.
func TestFeedTakesEveryMessage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var bodies [][]byte
	for i := range 4000 {
		n := random.IntN(200)
		switch {
		case i%500 == 499:
			n = feedSize + random.IntN(3*feedSize)
		case i%100 == 99:
			n = random.IntN(feedSize)
		}
		body := make([]byte, n)
		for k := range body {
			body[k] = byte(random.Uint32())
		}
		bodies = append(bodies, body)
	}
	for name, cut := range map[string]func(n int) int{
		"one by one": nil,
		"near":       nil,
		"cut":        func(n int) int { return 1 + random.IntN(min(n, 3000)) },
		"at once":    func(n int) int { return n },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(loopback(t, func(c net.Conn) {
				var all []byte
				for _, body := range bodies {
					m := framed(copyData, body)
					if cut == nil {
						_, _ = c.Write(m)
						continue
					}
					all = append(all, m...)
				}
				for len(all) > 0 {
					n := cut(len(all))
					_, _ = c.Write(all[:n])
					all = all[n:]
				}
			}))
			if name != "near" {
				f.pace = farPace
			}
			for i, want := range bodies {
				kind, body, err := f.next()
				if err != nil || kind != copyData || !bytes.Equal(body, want) {
					t.Fatalf("message %d of %d bytes: %q, %d bytes, %v", i, len(want), kind, len(body), err)
				}
			}
			if _, _, err := f.next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last: %v", err)
			}
			if len(f.buf) > feedSize {
				t.Errorf("a buffer of %d bytes stays", len(f.buf))
			}
		})
	}
}

// TestFeedWaitsForNothingInAHurry: what comes after a hurry is not held back until more comes, and a
// deadline ends the wait.
func TestFeedWaitsForNothingInAHurry(t *testing.T) {
	more := make(chan struct{})
	f := newFeed(loopback(t, func(c net.Conn) {
		for range 5000 {
			_, _ = c.Write(framed(copyData, []byte("a small message")))
		}
		<-more
		_, _ = c.Write(framed(copyData, []byte("alone")))
		<-more
	}))
	for range 5000 {
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
	}
	more <- struct{}{}
	if _, body, err := f.next(); err != nil || string(body) != "alone" {
		t.Fatalf("%q, %v", body, err)
	}
	f.hurry = true // the setting of the socket must not outlast the pause
	_ = f.conn.SetReadDeadline(time.Now())
	if _, _, err := f.next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the deadline: %v", err)
	}
	close(more)
}

// TestFeedPacesOnlyTCP: what yields a message at a time, as TLS does, is read without a pause.
func TestFeedPacesOnlyTCP(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		for range 5000 {
			_, _ = there.Write(framed(copyData, []byte("a small message")))
		}
		_ = there.Close()
	}()
	f := newFeed(here)
	for range 5000 {
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
		if f.hurry {
			t.Fatal("it is in a hurry, and would pause")
		}
	}
}

// FuzzFeed: whatever comes, feed ends with an error, and says what was whole before it.
func FuzzFeed(f *testing.F) {
	f.Add(framed(copyData, []byte("x")))
	f.Add([]byte("d\x00\x00\x00\x03"))
	f.Add([]byte("d\xff\xff\xff\xffabc"))
	f.Add(append(framed(copyData, nil), "E\x00\x00"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write(data)
			_ = there.Close()
		}()
		defer here.Close()
		feed := newFeed(here)
		var whole []byte
		for {
			kind, body, err := feed.next()
			if err != nil {
				break
			}
			whole = append(whole, framed(kind, body)...)
		}
		if !bytes.HasPrefix(data, whole) {
			t.Fatalf("%q is not the beginning of %q", whole, data)
		}
	})
}
