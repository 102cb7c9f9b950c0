package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/waybill-data/waybill/internal/pump"
)

const (
	maxHeaderBytes = 16 << 10
	ioTimeout      = 10 * time.Second // to read a request, and to write an answer
	idleTimeout    = 60 * time.Second
	closeTimeout   = 2 * time.Second // for answers under way when Run ends
)

// Meter is what a pipeline is measured by; *pump.Meter is one.
type Meter interface {
	Snapshot() pump.Status
}

// Options of a Server; zero values take the defaults.
type Options struct {
	Listen string // host:port
	Token  string // secret; required unless Listen is a loopback address
	Meters []Meter
	// Queues shows the queues; nil: there are none.
	Queues Queues
	// Pauser is what /pause and /resume work on; nil: they are not there.
	Pauser Pauser
	// Engine is shown by /status: which state directory this process runs for.
	Engine  string
	Version string
	Commit  string
	// Stall is how long data may stand still before /readyz fails, default 30 s.
	Stall time.Duration
	// Opened, if set, is told the address that is open, with its port where Listen has 0.
	Opened func(addr string)
	// RetryListen is how often a taken address is tried again, default 5 s.
	RetryListen time.Duration
	Log         *slog.Logger
}

// Server answers the admin address. Use New.
type Server struct {
	Options
	loopback bool
	started  time.Time
	now      func() time.Time
}

// New prepares a Server; it opens nothing. It refuses an address beyond the loopback
// interface without a token.
func New(o Options) (*Server, error) {
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen %q is not host:port, such as 127.0.0.1:7780", o.Listen)
	}
	loopback := isLoopback(host)
	if !loopback && o.Token == "" {
		return nil, fmt.Errorf("admin.listen %s can be reached from other machines and has no token; set admin.token, or listen on 127.0.0.1", o.Listen)
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.RetryListen == 0 {
		o.RetryListen = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{Options: o, loopback: loopback, started: time.Now(), now: time.Now}, nil
}

// Run answers until ctx ends, and then returns nil. It returns an error only if the
// listener fails for another reason than a taken address.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.listen(ctx)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Listen, err)
	}
	if l == nil {
		return nil
	}
	return s.serve(ctx, l)
}

// listen waits for the address to be free; nil without error when ctx ended first.
func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	warned := false
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
		switch {
		case err == nil:
			return l, nil
		case ctx.Err() != nil:
			return nil, nil //nolint:nilerr // ending is what ctx asked for
		case !isTaken(err):
			return nil, err
		}
		if !warned {
			s.Log.Warn("the admin address is taken, perhaps by another waybill; going on without status and metrics until it is free", "listen", s.Listen)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(s.RetryListen):
		}
	}
}

func (s *Server) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: ioTimeout,
		ReadTimeout:       ioTimeout,
		WriteTimeout:      ioTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	s.Log.Info("admin address open", "listen", l.Addr().String())
	if s.Opened != nil {
		s.Opened(l.Addr().String())
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(late); err != nil {
		_ = srv.Close() // answers that took too long are cut off
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
