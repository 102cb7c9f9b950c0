package jetstream

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// ServerOptions say where the server keeps its data and whether anybody else may reach it.
type ServerOptions struct {
	// Dir is the directory of the store; it is made where it is missing.
	Dir string
	// Listen is host:port for NATS clients; empty: none. Beyond loopback it needs Token.
	Listen string
	Token  string // secret; empty: none asked for
	Log    *slog.Logger
}

// Server is a NATS server with JetStream in this process, every acknowledged message on disk.
type Server struct {
	ServerOptions
}

// NewServer prepares a server; it opens nothing.
func NewServer(o ServerOptions) *Server { return &Server{ServerOptions: o} }

// Start takes the directory and starts the server. It may be called again, by each of those who
// use the server; each calls Close. ErrHeld: another process has the directory (its text names
// the process).
func (s *Server) Start(ctx context.Context) error { return errors.New("not built yet") }

// Close gives up one Start; the last one ends the server and gives the directory back.
func (s *Server) Close() error { return nil }

// connect opens a connection within this process. The caller closes it.
func (s *Server) connect(name string) (*nats.Conn, error) { return nil, errors.New("not built yet") }

// room reports whether n more bytes can be stored with what the store needs beside them; if not,
// a transient error that names the directory and what is free.
func (s *Server) room(n int64) error { return nil }

// broken is told of an error that may have come from a store that can no longer write (a
// full disk): the server is started anew where that is needed, so that connections made
// before it break. It returns when the server is up again or the attempt failed.
func (s *Server) broken(ctx context.Context, cause error) {}
