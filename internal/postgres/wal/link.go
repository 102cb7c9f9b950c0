package wal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	// statusEvery is how often the server hears from us at least, and ackEvery how often where
	// something was acknowledged.
	statusEvery = 5 * time.Second
	ackEvery    = 200 * time.Millisecond
	// silence is how long the server's machine may take to acknowledge a report.
	silence = time.Minute
)

// link is one replication connection. Three goroutines serve it: one receives, one, which is the
// only one that writes, reports, and one looks after the source; stop waits for them.
type link struct {
	pg       *pgx.Conn // until begin
	conn     net.Conn  // from then on
	feed     *feed
	backend  uint32 // of the server
	queue    *queue
	acked    *atomic.Uint64 // the Reader's
	received atomic.Uint64  // LSN
	asked    chan struct{}  // the server, or Head, asks for a report
	cancel   context.CancelFunc
	quit     chan struct{} // end the replication in good order
	receiver chan struct{}
	reporter chan struct{}
	keeper   chan struct{}
}

// linkParams make values come as this package reads them.
var linkParams = map[string]string{
	"replication":        "database",
	"DateStyle":          "ISO",
	"IntervalStyle":      "postgres",
	"extra_float_digits": "3",
	"lc_monetary":        "C",
	"bytea_output":       "hex",
	"search_path":        "pg_catalog", // names in regclass and the like say their schema
}

// begin sends a replication command and waits until the stream is open. After an error that left
// the session alive it may be called again.
func (l *link) begin(ctx context.Context, sql string) error {
	if l.pg != nil {
		// After a write that took long the driver may still be reading ahead: the answer to what is
		// sent here would go there, and never come.
		if err := l.pg.PgConn().SyncConn(ctx); err != nil {
			return waybill.AsTransient(fmt.Errorf("the session is not quiet: %v", err)) //nolint:errorlint // whatever it is, another session helps
		}
		hijacked, err := l.pg.PgConn().Hijack()
		if err != nil {
			return err
		}
		l.pg, l.conn, l.feed = nil, hijacked.Conn, newFeed(hijacked.Conn)
		l.feed.rest = l.queue.announce
		if err := server.LimitSilence(l.conn, silence); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Now()) })
	defer stop()
	if err := l.send(&pgproto3.Query{String: sql}); err != nil {
		return err
	}
	var failed error
	for {
		kind, body, err := l.feed.next()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		switch kind {
		case copyBoth:
			return nil
		case errorResponse:
			failed = serverError(body)
		case readyForQuery:
			if failed == nil {
				failed = errors.New("the server does not open the stream")
			}
			return failed
		}
	}
}

// Types of messages of the server.
const (
	copyBoth        = 'W'
	copyData        = 'd'
	errorResponse   = 'E'
	commandComplete = 'C'
	readyForQuery   = 'Z'
)

func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return errMessage
	}
	return pgconn.ErrorResponseToPgError(&m)
}

// start begins to receive; a takes what comes, and maintain runs beside it.
func (l *link) start(a *assembler, maintain func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.quit, l.asked = cancel, make(chan struct{}), make(chan struct{}, 1)
	l.receiver, l.reporter, l.keeper = make(chan struct{}), make(chan struct{}), make(chan struct{})
	a.ctx = ctx
	go func() {
		defer close(l.receiver)
		if err := l.receive(ctx, a); err != nil {
			l.queue.fail(err)
		}
	}()
	go func() {
		defer close(l.reporter)
		l.report(ctx)
	}()
	go func() {
		defer close(l.keeper)
		maintain(ctx)
	}()
}

// receive takes what the server sends until the stream ends.
func (l *link) receive(ctx context.Context, a *assembler) error {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Now()) })
	defer stop()
	var decoder pgoutput.Decoder
	quitting := false
	for {
		kind, body, err := l.feed.next()
		if err != nil {
			return server.Classify(err, "read the source's log")
		}
		select {
		case <-l.quit:
			quitting = true
		default:
		}
		switch kind {
		case copyData:
			if quitting {
				continue
			}
			if err := l.frame(a, &decoder, body); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return err
			}
		case errorResponse:
			return server.Classify(serverError(body), "read the source's log")
		case commandComplete, readyForQuery:
			return waybill.AsTransient(errors.New("read the source's log: the server ended the stream"))
		}
	}
}

func (l *link) frame(a *assembler, decoder *pgoutput.Decoder, data []byte) error {
	f, err := pgoutput.ParseFrame(data)
	if err != nil {
		return err
	}
	if f.Kind == pgoutput.FrameKeepalive {
		l.advance(f.End)
		if f.Reply {
			signal(l.asked)
		}
		return a.keepalive(f.End)
	}
	l.advance(f.Start)
	m, err := decoder.Decode(f.Data)
	if err != nil {
		return fmt.Errorf("read the source's log at %s: %w", f.Start, err)
	}
	return a.message(m)
}

func (l *link) advance(lsn pgoutput.LSN) {
	if uint64(lsn) > l.received.Load() {
		l.received.Store(uint64(lsn))
	}
}

// report tells the server what is done, until the context ends.
func (l *link) report(ctx context.Context) {
	tick := time.NewTicker(ackEvery)
	defer tick.Stop()
	var (
		sent   uint64
		sentAt = time.Now()
	)
	for {
		quit := false
		select {
		case <-ctx.Done():
			return
		case <-l.quit:
			quit = true
		case <-l.asked:
		case now := <-tick.C:
			if l.acked.Load() == sent && now.Sub(sentAt) < statusEvery {
				continue
			}
		}
		acked := l.acked.Load()
		if err := l.status(pgoutput.LSN(acked)); err != nil {
			return // the receiver notices
		}
		if acked != sent {
			fault.Hit(fault.AckDone)
		}
		sent, sentAt = acked, time.Now()
		if quit {
			_ = l.send(&pgproto3.CopyDone{})
			return
		}
	}
}

func (l *link) status(acked pgoutput.LSN) error {
	written := max(pgoutput.LSN(l.received.Load()), acked)
	if fault.Broken(fault.AckEarly) {
		acked = written
	}
	return l.send(&pgproto3.CopyData{Data: pgoutput.AppendStatus(nil, written, acked, acked, time.Now(), false)})
}

func (l *link) send(m pgproto3.FrontendMessage) error {
	b, err := m.Encode(nil)
	if err != nil {
		return err
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(statusEvery))
	_, err = l.conn.Write(b)
	return err
}

// stop ends the replication and disconnects. In good order: with a last report, and when the
// server has given the slot back.
func (l *link) stop(orderly bool) {
	if l.cancel != nil {
		if orderly {
			close(l.quit)
			l.queue.open()
			timer := time.NewTimer(closeTimeout)
			select {
			case <-l.receiver:
			case <-timer.C:
			}
			timer.Stop()
		}
		l.cancel()
		<-l.receiver
		<-l.reporter
		<-l.keeper
	}
	if l.pg != nil {
		server.Close(l.pg)
		return
	}
	_ = l.send(&pgproto3.Terminate{})
	_ = l.conn.Close()
}
