package target

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// cutter is a proxy in front of the server that breaks a connection at an exact byte.
type cutter struct {
	listener net.Listener
	server   string
	wait     sync.WaitGroup

	mu      sync.Mutex
	toward  direction
	marker  []byte
	inside  bool // forward what stands before the marker
	linger  bool // keep the server's side open, to deliver the rest in release
	cuts    int
	pending net.Conn
	rest    []byte
	open    []net.Conn
}

type direction bool

const (
	toServer direction = true
	toClient direction = false
)

func newCutter(t testing.TB, databaseURL string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: u.Host}
	c.wait.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.mu.Lock()
		for _, conn := range c.open {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.wait.Wait()
	})
	u.Host = l.Addr().String()
	return c, u.String()
}

// arm cuts the next connection on which the marker passes.
func (c *cutter) arm(toward direction, marker string, inside, linger bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.toward, c.marker, c.inside, c.linger = toward, []byte(marker), inside, linger
}

// release delivers to the server what was held back, and ends that connection in order.
func (c *cutter) release(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		t.Fatal("nothing is held back")
	}
	_, _ = c.pending.Write(c.rest)
	_ = c.pending.(*net.TCPConn).CloseWrite()
}

func (c *cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		c.mu.Lock()
		c.open = append(c.open, client, server)
		c.mu.Unlock()
		c.wait.Go(func() { c.pass(client, server, toServer) })
		c.wait.Go(func() { c.pass(server, client, toClient) })
	}
}

func (c *cutter) pass(from, to net.Conn, toward direction) {
	buf := make([]byte, 1<<20)
	for {
		n, err := from.Read(buf)
		data := buf[:n]
		if client, server := from, to; c.cut(toward, client, server, data) {
			return
		}
		if n > 0 {
			if _, werr := to.Write(data); werr != nil {
				err = werr
			}
		}
		if err != nil {
			c.mu.Lock()
			lingering := c.pending == to || c.pending == from
			c.mu.Unlock()
			if lingering {
				_, _ = io.Copy(io.Discard, from)
				return
			}
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

// cut breaks the connection if the marker is in data.
func (c *cutter) cut(toward direction, from, to net.Conn, data []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := bytes.Index(data, c.marker)
	if len(c.marker) == 0 || toward != c.toward || i < 0 {
		return false
	}
	c.marker = nil
	c.cuts++
	if c.inside {
		// Before the marker stand the message's type and length, and an empty name.
		_, _ = to.Write(data[:i-6])
	}
	if c.linger {
		c.pending, c.rest = to, bytes.Clone(data[i-6:])
		_ = from.Close()
		return true
	}
	_ = from.Close()
	_ = to.Close()
	return true
}
