package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// side is what may run beside Next, on a second connection that is opened when it is first
// needed: acknowledging, purging, and looking at the head and the backlog.
type side struct {
	opts                 Options
	log                  *slog.Logger
	ackEvery, purgeEvery time.Duration
	// flipBytes and flipAge say when the half that is written is changed; see outbox_purge.
	flipBytes int64
	flipAge   time.Duration

	// use guards the connection and what was done on it; it is a channel so that waiting
	// for it ends with the context.
	use        chan struct{}
	conn       *pgx.Conn
	at         server.Identity
	written    waybill.Position // the acknowledgement that is at the source
	wroteAt    time.Time
	purgedAt   time.Time
	registered string

	mu      sync.Mutex // guards what follows; held for moments
	source  string     // of Open; empty before
	acked   waybill.Position
	ackedAt position

	cancel context.CancelFunc
	done   chan struct{}
}

func newSide(opts Options) *side {
	s := &side{
		opts: opts, log: opts.Log.With("stream", opts.Stream), use: make(chan struct{}, 1),
		ackEvery: ackEvery, purgeEvery: purgeEvery, flipBytes: flipBytes, flipAge: flipAge,
	}
	if fault.Enabled { // so that a test that kills the engine at every step comes by this one
		s.purgeEvery, s.flipBytes, s.flipAge = purgeEvery/10, 0, 0
	}
	return s
}

// opened says what Open found: the source, and the stream's registration.
func (s *side) opened(at server.Identity, c consumer) {
	s.registered, s.written = c.registered, c.position
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = at.Source
	s.acked = c.position
	s.ackedAt, _ = decodePosition(c.position)
}

// start begins the background work, which stop ends.
func (s *side) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	s.wroteAt, s.purgedAt = time.Time{}, time.Now()
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
}

// stop writes the last acknowledgement, if it can, and disconnects.
func (s *side) stop() {
	if s.cancel != nil {
		s.cancel()
		<-s.done
		s.cancel = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.lock(ctx) != nil {
		return // somebody is still at it, against the contract; what it holds ends with it
	}
	defer s.unlock()
	if err := s.writeAck(ctx); err != nil {
		s.log.Debug("the last acknowledgement was not written", "error", err)
	}
	s.disconnect()
	s.mu.Lock()
	s.acked, s.ackedAt, s.source = "", position{}, ""
	s.mu.Unlock()
	s.written = ""
}

func (s *side) lock(ctx context.Context) error {
	select {
	case s.use <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.use <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *side) unlock() { <-s.use }

// run writes acknowledgements that were held back, and purges.
func (s *side) run(ctx context.Context) {
	tick := time.NewTicker(min(s.ackEvery, s.purgeEvery)/4 + time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.lock(ctx) != nil {
			return
		}
		err := s.chores(ctx)
		s.unlock()
		if err != nil && ctx.Err() == nil {
			s.log.Warn("could not acknowledge or purge at the source; trying again", "error", err)
		}
	}
}

func (s *side) chores(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if time.Since(s.wroteAt) >= s.ackEvery {
		if err := s.writeAck(ctx); err != nil {
			return err
		}
	}
	if time.Since(s.purgedAt) >= s.purgeEvery {
		_, err := s.purge(ctx)
		return err
	}
	return nil
}

// connected returns the connection, which must be to the database that Open found, if any.
// The caller holds the lock.
func (s *side) connected(ctx context.Context) (*pgx.Conn, error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, nil
	}
	params := make(map[string]string, len(readerParams))
	maps.Copy(params, readerParams)
	params["synchronous_commit"] = "off" // an acknowledgement that is lost comes again
	conn, err := server.Connect(ctx, s.opts.URL, server.Options{Name: "waybill " + s.opts.Stream + " ack", Params: params})
	if err != nil {
		return nil, err
	}
	at, err := server.Identify(ctx, conn)
	if err == nil && at.Standby {
		err = waybill.AsTransient(errors.New("the source server is a standby now"))
	}
	s.mu.Lock()
	source := s.source
	s.mu.Unlock()
	if err == nil && source != "" && source != at.Source {
		stream := server.Stream(s.opts.Stream)
		err = stream.Gap(fmt.Sprintf("the source was %s and is %s now", source, at.Source), stream.StartOver())
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	s.conn, s.at = conn, at
	return conn, nil
}

func (s *side) disconnect() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.conn = nil
}

// Ack notes that everything up to p is durable downstream. It is written at the source at
// most once a second, and by Close.
func (o *Reader) Ack(ctx context.Context, p waybill.Position) error {
	if p == "" {
		return nil
	}
	at, err := decodePosition(p)
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	s := o.side
	if err := s.note(p, at); err != nil {
		return err
	}
	select {
	case s.use <- struct{}{}:
	default:
		return nil // the background work is at it, and will come back to this one
	}
	defer s.unlock()
	if time.Since(s.wroteAt) < s.ackEvery {
		return nil
	}
	return s.writeAck(ctx)
}

// note keeps p if it is further than what was acknowledged before.
func (s *side) note(p waybill.Position, at position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == "" {
		return waybill.AsTransient(errors.New("acknowledge: the reader is not open"))
	}
	if at.source != s.source {
		return fmt.Errorf("acknowledge: the position is one of source %s, this is %s", at.source, s.source)
	}
	if s.acked == "" || at.seq > s.ackedAt.seq || at.seq == s.ackedAt.seq && at.from.covers(s.ackedAt.from) {
		s.acked, s.ackedAt = p, at
	}
	return nil
}

// writeAck moves the consumer's row forward. The caller holds the lock.
func (s *side) writeAck(ctx context.Context) error {
	s.mu.Lock()
	p, at := s.acked, s.ackedAt
	s.mu.Unlock()
	if p == s.written {
		return nil
	}
	s.wroteAt = time.Now() // a failure, too, is not repeated sooner
	conn, err := s.connected(ctx)
	if err != nil {
		return err
	}
	tag, err := conn.Exec(ctx, `update waybill.consumer set position = $2, seq = $3, last_id = $4, floor = $5::text::pg_snapshot,
  updated_at = clock_timestamp() where name = $1 and registered = $6::text::uuid and seq <= $3`,
		s.opts.Stream, string(p), at.seq, at.id, at.from.String(), s.registered)
	if err != nil {
		return server.Classify(err, "acknowledge at the source")
	}
	if tag.RowsAffected() == 0 {
		return s.ackRefused(ctx, conn)
	}
	s.written = p
	fault.Hit(fault.AckDone)
	return nil
}

// ackRefused tells why an acknowledgement changed nothing: the worker that took the stream
// over has acknowledged more, which is fine, or there is no such consumer any more.
func (s *side) ackRefused(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	err := conn.QueryRow(ctx, `select exists (select from waybill.consumer where name = $1 and registered = $2::text::uuid)`,
		s.opts.Stream, s.registered).Scan(&there)
	if err != nil {
		return server.Classify(err, "acknowledge at the source")
	}
	if !there {
		stream := server.Stream(s.opts.Stream)
		return stream.Gap("the consumer was dropped at the source while it was read", stream.StartOver())
	}
	return nil
}

// purge empties a half of the outbox if it can; see outbox_purge. The caller holds the lock.
func (s *side) purge(ctx context.Context) (string, error) {
	s.purgedAt = time.Now()
	conn, err := s.connected(ctx)
	if err != nil {
		return "", err
	}
	fault.Hit(fault.PurgeBefore)
	sql := `select waybill.outbox_purge($1, $2)`
	if fault.Broken(fault.PurgeUnacked) {
		_, err = conn.Exec(ctx, `truncate waybill.outbox, waybill.outbox_order`)
		return "purged", server.Classify(err, "purge the outbox")
	}
	var did string
	if err := conn.QueryRow(ctx, sql, s.flipBytes, s.flipAge).Scan(&did); err != nil {
		return "", server.Classify(err, "purge the outbox")
	}
	if did == "purged" {
		fault.Hit(fault.PurgeDone)
	}
	s.log.Debug("purge", "result", did)
	return did, nil
}

// Head is a position at or past the newest action that is committed now.
func (o *Reader) Head(ctx context.Context) (waybill.Position, error) {
	s := o.side
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.unlock()
	conn, err := s.connected(ctx)
	if err != nil {
		return "", err
	}
	var snap, last string
	err = conn.QueryRow(ctx, `select pg_current_snapshot()::text,
  coalesce((select xid from waybill.outbox_order order by xid desc limit 1), '0')::text`).Scan(&snap, &last)
	if err != nil {
		return "", server.Classify(err, "look at the head of the outbox")
	}
	h, err := parsePollHead(snap, "0 - "+last+" -")
	if err != nil {
		return "", err
	}
	head := h.now.upTo(h.last)
	o.heads.Add(1)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return position{source: s.at.Source, timeline: s.at.Timeline, from: head, to: head}.encode(), nil
}

// Reached tells whether p is at or past head.
func (o *Reader) Reached(p, head waybill.Position) bool {
	at, err := decodePosition(p)
	if err != nil {
		return false
	}
	h, err := decodePosition(head)
	if err != nil || (p != "" && head != "" && at.source != h.source) {
		return false
	}
	return at.reached(h.from)
}

// BacklogBound is where Backlog stops counting.
func (o *Reader) BacklogBound() int64 { return backlogBound }

// Backlog counts the transactions after p, at most 100,000 of them, and tells how long ago
// the first of them was emitted.
func (o *Reader) Backlog(ctx context.Context, p waybill.Position) (int64, time.Duration, error) {
	at, err := decodePosition(p)
	if err != nil {
		return 0, 0, fmt.Errorf("look at the backlog: %w", err)
	}
	s := o.side
	if err := s.lock(ctx); err != nil {
		return 0, 0, err
	}
	defer s.unlock()
	conn, err := s.connected(ctx)
	if err != nil {
		return 0, 0, err
	}
	if p != "" && at.source != s.at.Source {
		return 0, 0, fmt.Errorf("look at the backlog: the position is one of source %s, this is %s", at.source, s.at.Source)
	}
	sql := fmt.Sprintf(`with f as materialized (select xid, ord from (%s) f limit %d)
select count(*), coalesce(extract(epoch from clock_timestamp() - (select min(b.at) from waybill.outbox b
  where b.xid = (select xid from f order by ord limit 1))), 0)::float8 from f`, at.followingSQL(), backlogBound)
	var (
		n   int64
		age float64
	)
	if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeExec).Scan(&n, &age); err != nil {
		return 0, 0, server.Classify(err, "look at the backlog")
	}
	return n, time.Duration(max(age, 0) * float64(time.Second)), nil
}
