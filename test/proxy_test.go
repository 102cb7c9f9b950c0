package test

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// amnesia stands between the engine and a PostgreSQL server and loses some answers to COMMIT:
// the server has committed, the engine sees its connection break.
type amnesia struct {
	upstream string
	every    int64 // the how manieth answer is lost
	commits  atomic.Int64
	lost     atomic.Int64
}

// between listens in place of the database's server until the test ends, has each connection carried
// by serve, and returns the server's address and the database's through it.
func between(t testing.TB, database string) (upstream, through string, listen func(serve func(net.Conn))) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return u.Host, strings.Replace(database, u.Host, listener.Addr().String(), 1), func(serve func(net.Conn)) {
		all.Go(func() {
			for {
				client, err := listener.Accept()
				if err != nil {
					return
				}
				all.Go(func() { serve(client) })
			}
		})
	}
}

// forget starts an amnesia in front of the database and returns it with the address to use.
func forget(t testing.TB, database string, every int64) (*amnesia, string) {
	t.Helper()
	upstream, through, listen := between(t, database)
	a := &amnesia{upstream: upstream, every: every}
	listen(a.serve)
	return a, through
}

// serve carries one connection until either side closes it or an answer is lost.
func (a *amnesia) serve(client net.Conn) {
	server, err := net.Dial("tcp", a.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	both.Go(func() {
		a.answers(client, server)
		_ = client.Close()
		_ = server.Close()
	})
	both.Wait()
}

// answers passes the server's messages on: a type, a length that counts itself, a body.
func (a *amnesia) answers(client io.Writer, server io.Reader) {
	header := make([]byte, 5)
	for {
		if _, err := io.ReadFull(server, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		if header[0] == 'C' && string(body) == "COMMIT\x00" && a.commits.Add(1)%a.every == 0 {
			a.lost.Add(1)
			return
		}
		if _, err := client.Write(append(header, body...)); err != nil {
			return
		}
		header = header[:5]
	}
}
