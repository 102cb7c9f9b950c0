package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/waybill-data/waybill"
)

const (
	// maxPayload bounds one message, in bytes: the largest single change and its envelope.
	maxPayload = 64 << 20
	// maxPending bounds what waits for one connection, in bytes; it must take one message.
	maxPending = maxPayload + 16<<20
	// maxBatch is the most messages that one atomic batch may hold; a writer's are portionActions
	// and their schemas.
	maxBatch = 10_000
	// maxBatches bounds the atomic batches that are begun and not ended, of one stream. A writer
	// that finds no room waits: clients may hold some open for 10 s.
	maxBatches = 16
	// maxBuffered is how many messages may wait for a stream to look at them, all writers together.
	maxBuffered = 100_000
	// maxConnections bounds all connections, this process's among them.
	maxConnections = 256
	// startTimeout bounds how long the server may take to recover what its directory holds.
	startTimeout = 10 * time.Minute
	// connectTimeout bounds one connection within the process.
	connectTimeout = 10 * time.Second
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
// Its methods may be called concurrently.
type Server struct {
	ServerOptions

	mu    sync.Mutex
	users int // Start calls without their Close
	lock  *os.File
	// running is nil where no Start is open, and after a restart that failed; connect tries again.
	running   *server.Server
	restarted time.Time // when broken last started it anew
	log       *serverLog
	own       string // this process's secret
	streams   map[string]*stream
	closed    closed
	noting    sync.Mutex // over the file of memoryName
}

// NewServer prepares a server; it opens nothing.
func NewServer(o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{ServerOptions: o, streams: map[string]*stream{}}
}

// Start takes the directory and starts the server. It may be called again, by each of those who
// use the server; each calls Close. ErrHeld: another process has the directory (its text names
// the process).
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		s.users++
		return nil
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil { //nolint:gosec // the directory that the user names
		return fmt.Errorf("make queue directory: %w", err)
	}
	lock, err := takeLock(s.Dir)
	if err != nil {
		return err
	}
	s.lock = lock
	if err := s.run(ctx); err != nil {
		s.lock = nil
		return errors.Join(err, lock.Close())
	}
	s.users = 1
	return nil
}

// Close gives up one Start; the last one ends the server and gives the directory back.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return nil
	}
	if s.users--; s.users > 0 {
		return nil
	}
	s.end()
	lock := s.lock
	s.lock = nil
	return lock.Close() // ends the flock
}

// Addr is where NATS clients can connect, host:port; empty where the server does not listen or run.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.Listen == "" || s.running.Addr() == nil {
		return ""
	}
	return s.running.Addr().String()
}

// run starts the server on the directory that this process has. s.mu is held.
func (s *Server) run(ctx context.Context) error {
	// The server makes its files readable by the group; nobody passes this directory.
	store := filepath.Join(s.Dir, server.JetStreamStoreDir)
	if err := os.MkdirAll(store, 0o700); err != nil { //nolint:gosec // the directory that the user names
		return fmt.Errorf("make store directory: %w", err)
	}
	if err := os.Chmod(store, 0o700); err != nil { //nolint:gosec // a directory
		return fmt.Errorf("close store directory to others: %w", err)
	}
	if err := s.startable(); err != nil {
		return err
	}
	s.own = rand.Text()
	o, err := s.options()
	if err != nil {
		return err
	}
	ns, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("prepare embedded NATS server: %w", err)
	}
	s.log = newServerLog(s.Log)
	ns.SetLoggerV2(s.log, false, false, false)
	if err := start(ctx, ns, s.log); err != nil {
		stop(ns)
		return fmt.Errorf("start embedded NATS server in %s: %w", s.Dir, err)
	}
	s.running = ns
	return nil
}

func (s *Server) options() (*server.Options, error) {
	o := &server.Options{
		ServerName: "waybill", DontListen: true, NoSigs: true, MaxTracedMsgLen: 64,
		JetStream: true, StoreDir: s.Dir, SyncAlways: true, DisableJetStreamBanner: true,
		// The bounds are the streams' own, and the free space looked at before each write.
		JetStreamMaxStore: math.MaxInt64 / 4, JetStreamMaxMemory: 64 << 20,
		JetStreamLimits:       server.JSLimitOpts{MaxBatchSize: maxBatch, MaxBatchInflightPerStream: maxBatches, MaxBatchInflightTotal: 4 * maxBatches},
		StreamMaxBufferedMsgs: maxBuffered,
		MaxPayload:            maxPayload, MaxPending: maxPending, MaxControlLine: 4096,
		MaxConn: maxConnections, MaxSubs: 10_000, AuthTimeout: 5, MaxClosedClients: 100,
		CustomClientAuthentication: gate{own: s.own, token: s.Token, closed: &s.closed},
	}
	if s.Listen != "" {
		host, port, err := listenAt(s.Listen, s.Token)
		if err != nil {
			return nil, err
		}
		o.DontListen, o.Host, o.Port = false, host, port
	}
	return o, nil
}

// start waits until the server can be used; an error says why it cannot.
func start(ctx context.Context, ns *server.Server, log *serverLog) error {
	ns.Start() // recovers the streams; cannot be interrupted
	if why := log.reason(); why != "" {
		return errors.New(why)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !ns.ReadyForConnections(startTimeout) {
		return errors.New("it does not get ready")
	}
	return nil
}

// end stops the server, so that all its files are closed. s.mu is held.
func (s *Server) end() {
	if s.running != nil {
		stop(s.running)
		s.running = nil
	}
}

func stop(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// connect opens a connection within this process. The caller closes it. It breaks, and does
// not come back, when the server is started anew.
func (s *Server) connect(name string) (*nats.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return nil, errors.New("connect to the embedded NATS server: it was not started")
	}
	if s.running == nil {
		if err := s.run(context.Background()); err != nil {
			return nil, waybill.AsTransient(err)
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(s.running), nats.Name(name), nats.Token(s.own),
		nats.NoReconnect(), nats.CustomInboxPrefix(reserved+".inbox."+rand.Text()), nats.Timeout(connectTimeout),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.Log.Debug("a connection within the process", "error", err)
		}))
	if err != nil {
		return nil, waybill.AsTransient(fmt.Errorf("connect to the embedded NATS server: %w", err))
	}
	return nc, nil
}
