package wal

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// side is an ordinary session at the source for what is not replication, opened when it is
// first needed. It may be used by several goroutines, by one at a time.
type side struct {
	url, name string
	use       chan struct{} // held by who uses conn
	conn      *sideConn
}

type sideConn struct {
	*pgx.Conn
	identity server.Identity
}

// do calls f with the session. An error of f that closed the session makes the next call
// connect anew.
func (s *side) do(ctx context.Context, f func(c *sideConn) error) error {
	select {
	case s.use <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.use }()
	if s.conn != nil && s.conn.IsClosed() {
		s.conn = nil
	}
	if s.conn == nil {
		conn, err := server.Connect(ctx, s.url, server.Options{Name: s.name, Params: map[string]string{
			"jit": "off", "synchronous_commit": "local",
			"search_path": "public", // the names of types that are there have no schema, all others have
		}})
		if err != nil {
			return err
		}
		identity, err := server.Identify(ctx, conn)
		if err != nil {
			server.Close(conn)
			return err
		}
		s.conn = &sideConn{Conn: conn, identity: identity}
	}
	return f(s.conn)
}

// close disconnects, unless somebody is still at it.
func (s *side) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	select {
	case s.use <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.use }()
	if s.conn != nil {
		server.Close(s.conn.Conn)
		s.conn = nil
	}
}
