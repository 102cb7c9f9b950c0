package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// readerParams make every plan go by index, whatever the statistics say (a plan may be made
// while a table is empty), and without compiling it.
var readerParams = map[string]string{
	"enable_seqscan":                  "off",
	"enable_bitmapscan":               "off",
	"enable_hashjoin":                 "off",
	"enable_mergejoin":                "off",
	"jit":                             "off",
	"max_parallel_workers_per_gather": "0",
	"plan_cache_mode":                 "force_generic_plan",
	"work_mem":                        "32MB",
	"synchronous_commit":              "local",
}

// Open connects and verifies that the position is one of this source's history, and that
// everything that was applied at the target is still known here.
func (o *Reader) Open(ctx context.Context, after waybill.Position) error {
	if err := o.Close(); err != nil {
		return err
	}
	p, err := decodePosition(after)
	if err != nil {
		return o.stream.Gap(err.Error(), "")
	}
	conn, err := server.Connect(ctx, o.opts.URL, server.Options{Name: "waybill " + o.opts.Stream, Params: readerParams})
	if err != nil {
		return err
	}
	if err := o.openOn(ctx, conn, after, p); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return err
	}
	o.conn = conn
	o.openedOnce = true
	o.side.start()
	fault.Hit(fault.OpenDone)
	return nil
}

func (o *Reader) openOn(ctx context.Context, conn *pgx.Conn, after waybill.Position, p position) error {
	s, err := server.Identify(ctx, conn)
	if err != nil {
		return err
	}
	if err := o.usable(ctx, conn, s); err != nil {
		return err
	}
	c, err := o.consumer(ctx, conn, after)
	if err != nil {
		return err
	}
	if err := o.verify(ctx, conn, s, c, after, p); err != nil && !fault.Broken(fault.IgnoreIdentity) {
		return err
	}
	for name, sql := range map[string]string{pollStatement: pollSQL, rowsStatement: rowsSQL, plainStatement: plainSQL, flushStatement: flushSQL} {
		if _, err := conn.Prepare(ctx, name, sql); err != nil {
			return server.Classify(err, "prepare to read the outbox in database "+s.Database)
		}
	}

	o.suppressed.Add(p.seq - min(p.seq, c.seq))
	p.source, p.timeline = s.Source, s.Timeline
	o.at, o.token, o.registered = p, after, c.registered
	o.window = window{from: p.from, to: p.to, ord: p.ord, more: !p.atEnd()}
	o.idle, o.polled = 0, time.Time{}
	o.side.opened(s, c)
	return nil
}

// usable refuses servers and databases that no outbox can be read from.
func (o *Reader) usable(ctx context.Context, conn *pgx.Conn, s server.Identity) error {
	switch {
	case s.Version < minServerVersion:
		return fmt.Errorf("the source server is PostgreSQL %d, the outbox needs 13 or later", s.Version/10000)
	case s.Standby:
		err := errors.New("the source server is a standby, an outbox can only be read on the primary; point url at the primary " +
			"(several hosts with target_session_attrs=read-write find it)")
		if o.openedOnce {
			return waybill.AsTransient(err) // a failover under way
		}
		return err
	case !s.Outbox:
		return fmt.Errorf("no outbox is installed in database %s; run waybill outbox install %s", s.Database, o.stream.Pipeline())
	}
	var format string
	err := conn.QueryRow(ctx, `select value from waybill.meta where key = 'outbox.format'`).Scan(&format)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return server.Classify(err, "read the outbox's format in database "+s.Database)
	}
	if format != outboxFormat {
		return fmt.Errorf("the outbox in database %s has format %q, this version reads format %s; use the version of waybill that installed it",
			s.Database, format, outboxFormat)
	}
	return nil
}

// consumer is a row of waybill.consumer.
type consumer struct {
	registered string
	position   waybill.Position
	seq        uint64
	lastID     string
}

// consumer reads the stream's registration, making it where everything is still ahead.
func (o *Reader) consumer(ctx context.Context, conn *pgx.Conn, after waybill.Position) (consumer, error) {
	if after == "" {
		if _, err := conn.Exec(ctx, `insert into waybill.consumer (name) values ($1) on conflict do nothing`, o.opts.Stream); err != nil {
			return consumer{}, server.Classify(err, "register consumer "+o.opts.Stream)
		}
	}
	var (
		c        consumer
		position string
	)
	err := conn.QueryRow(ctx, `select registered::text, position, seq, last_id from waybill.consumer where name = $1`, o.opts.Stream).
		Scan(&c.registered, &position, &c.seq, &c.lastID)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && fault.Broken(fault.IgnoreIdentity):
		return consumer{}, nil
	case errors.Is(err, pgx.ErrNoRows):
		return consumer{}, o.stream.Gap("the source does not know this consumer, though the target holds a position of it: "+
			"the source was restored or replaced, or the consumer was dropped", o.stream.StartOver())
	case err != nil:
		return consumer{}, server.Classify(err, "read consumer "+o.opts.Stream)
	}
	c.position = waybill.Position(position)
	return c, nil
}

// verify compares the position with what the source knows.
func (o *Reader) verify(ctx context.Context, conn *pgx.Conn, s server.Identity, c consumer, after waybill.Position, p position) error {
	if c.seq > p.seq {
		return o.stream.Gap(fmt.Sprintf("the source has seen %d actions acknowledged, the target holds %d: the target was restored or replaced",
			c.seq, p.seq), o.stream.StartOver())
	}
	if after == "" {
		return nil
	}
	if p.source != s.Source {
		return o.stream.Gap(fmt.Sprintf("the position is one of source %s, this is %s: the source was replaced or restored from a dump",
			p.source, s.Source), o.stream.StartOver())
	}
	restored := "the source was restored to an earlier state, or failed over to a server that had not received everything"
	if p.timeline > s.Timeline {
		return o.stream.Gap(fmt.Sprintf("the position is on timeline %d, the source on timeline %d: %s", p.timeline, s.Timeline, restored), o.stream.StartOver())
	}
	var text string
	if err := conn.QueryRow(ctx, `select pg_current_snapshot()::text`).Scan(&text); err != nil {
		return server.Classify(err, "read the source's snapshot")
	}
	now, err := parseSnapshot(text)
	if err != nil {
		return err
	}
	if !now.covers(p.to) {
		return o.stream.Gap("the position is ahead of the source: "+restored, o.stream.StartOver())
	}
	known, err := o.known(ctx, conn, c, p)
	if err != nil {
		return err
	}
	if !known {
		return o.stream.Gap(fmt.Sprintf("the source does not know all the actions up to %s (number %d), which the target holds: %s",
			p.id, p.seq, restored), o.stream.StartOver())
	}
	return nil
}

// known tells whether the actions up to p are those of this source: the last acknowledged
// one, or else as many unacknowledged ones as there must be, the last of which is p's.
func (o *Reader) known(ctx context.Context, conn *pgx.Conn, c consumer, p position) (bool, error) {
	if c.seq == p.seq {
		return c.lastID == p.id, nil
	}
	acked, err := decodePosition(c.position)
	if err != nil || (c.position != "" && acked.source != p.source) {
		return false, nil //nolint:nilerr // a position that cannot be read is not a known one
	}
	var id string
	err = conn.QueryRow(ctx, `select id::text from waybill.outbox where xid = $1::text::xid8 order by n limit 1`, fmt.Sprint(p.xid)).Scan(&id)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, server.Classify(err, "look for the last applied action")
	}
	if id != p.id {
		return false, nil
	}
	seen := fmt.Sprintf("(pg_visible_in_snapshot(xid, '%s') or ord <= %d and pg_visible_in_snapshot(xid, '%s'))", p.from, p.ord, p.to)
	var n uint64
	err = conn.QueryRow(ctx, "select count(distinct xid) from ("+acked.followingSQL()+") f where "+seen, pgx.QueryExecModeExec).Scan(&n)
	if err != nil {
		return false, server.Classify(err, "count the applied actions")
	}
	return n == p.seq-c.seq, nil
}

// followingSQL selects (xid, ord) of the transactions after p, by index: those above the
// snapshot's end and those that were running in it.
func (p position) followingSQL() string {
	sql := fmt.Sprintf(`select xid, ord from (
  select xid, ord from waybill.outbox_order where xid >= '%d'::xid8
  union all select xid, ord from waybill.outbox_order where xid = any ('%s'::xid8[])) o`, p.from.xmax, p.from.array())
	if !p.atEnd() {
		sql += fmt.Sprintf(" where not (ord <= %d and pg_visible_in_snapshot(xid, '%s'))", p.ord, p.to)
	}
	return sql
}
