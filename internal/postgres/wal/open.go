package wal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// slot is a replication slot with what waybill.slot says of it.
type slot struct {
	exists     bool
	plugin     string
	status     string // wal_status
	lost       string // why, as the server has it (17 and later)
	active     int32  // pid
	confirmed  pgoutput.LSN
	registered bool
	start      pgoutput.LSN // 0: it was not made to the end
}

// Open connects, makes publication and slot where nothing was there yet, and verifies that the
// log after the position is still there.
func (o *Reader) Open(ctx context.Context, after waybill.Position) (err error) {
	defer func() {
		if !waybill.Transient(err) { // whoever opens next has taken the stream anew
			o.former = 0
		}
	}()
	if err := o.Close(); err != nil {
		return err
	}
	p, err := decodePosition(after)
	if err != nil {
		return o.stream.Gap(err.Error()+": another kind of source was read under the stream's name before",
			"give the pipeline another name, or run waybill drop "+o.stream.Pipeline()+" and start over")
	}
	var (
		identity server.Identity
		found    slot
		binary   bool
	)
	err = o.side.do(ctx, func(c *sideConn) error {
		identity = c.identity
		if found, err = o.prepare(ctx, c, after, p); err != nil {
			return err
		}
		if !o.text && !o.opts.Outbox && identity.Version >= 140000 {
			binary, err = o.allBinary(ctx, c)
		}
		return err
	})
	if err != nil {
		o.side.close()
		return err
	}
	if err := o.connect(ctx, identity, found, p, after, binary); err != nil {
		o.side.close()
		return err
	}
	o.opened = true
	fault.Hit(fault.OpenDone)
	return nil
}

// prepare looks whether the slot can continue the position.
func (o *Reader) prepare(ctx context.Context, c *sideConn, after waybill.Position, p position) (slot, error) {
	if err := o.usable(ctx, c); err != nil {
		return slot{}, err
	}
	found, err := o.findSlot(ctx, c)
	if err != nil {
		return slot{}, err
	}
	if after == "" && found.start == 0 && (!found.exists || found.registered) {
		if err := o.install(ctx, c, o.opts.Slot, o.opts.Publication, o.opts.Stream); err != nil {
			return slot{}, err
		}
		if found, err = o.findSlot(ctx, c); err != nil {
			return slot{}, err
		}
	}
	if fault.Broken(fault.IgnoreIdentity) {
		return found, nil
	}
	if err := o.verify(ctx, c, found, after, p); err != nil {
		return found, err
	}
	return found, o.covered(ctx, c)
}

// usable refuses servers whose log cannot be read.
func (o *Reader) usable(ctx context.Context, c *sideConn) error {
	s := c.identity
	if s.Version < minServerVersion {
		return fmt.Errorf("the source server is PostgreSQL %d, reading its log needs 13 or later", s.Version/10000)
	}
	if s.Standby {
		err := errors.New("the source server is a standby, whose log is not read; point url at the primary " +
			"(several hosts with target_session_attrs=read-write find it)")
		if o.opened {
			return waybill.AsTransient(err) // a failover under way
		}
		return err
	}
	var level string
	if err := c.QueryRow(ctx, `select current_setting('wal_level')`).Scan(&level); err != nil {
		return server.Classify(err, "read the source's settings")
	}
	if level != "logical" {
		return fmt.Errorf("the source server has wal_level %s; run ALTER SYSTEM SET wal_level = logical; and restart it", level)
	}
	return nil
}

const slotSQL = `select coalesce(plugin::text, ''), coalesce(wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', ''), coalesce(active_pid, 0),
  coalesce(confirmed_flush_lsn, '0/0')::text
from pg_replication_slots s where slot_name = $1 and database = current_database()`

func (o *Reader) findSlot(ctx context.Context, c *sideConn) (slot, error) {
	var s slot
	var confirmed string
	err := c.QueryRow(ctx, slotSQL, o.opts.Slot).Scan(&s.plugin, &s.status, &s.lost, &s.active, &confirmed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return s, server.Classify(err, "look for slot "+o.opts.Slot)
	default:
		s.exists = true
		if s.confirmed, err = pgoutput.ParseLSN(confirmed); err != nil {
			return s, err
		}
	}
	var there bool
	if err := c.QueryRow(ctx, `select to_regclass('waybill.slot') is not null`).Scan(&there); err != nil || !there {
		return s, denied(err, "look for table waybill.slot", slotTableGrantSQL(c.identity.Role))
	}
	var start string
	err = c.QueryRow(ctx, `select start_lsn::text from waybill.slot where stream = $1 and slot = $2`, o.opts.Stream, o.opts.Slot).Scan(&start)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return s, denied(err, "read waybill.slot", slotTableGrantSQL(c.identity.Role))
	}
	s.registered = true
	s.start, err = pgoutput.ParseLSN(start)
	return s, err
}

// gaveUp says why a slot's log is lost.
func gaveUp(slot, why string) string {
	switch why {
	case "", "wal_removed":
		why = "max_slot_wal_keep_size"
	case "idle_timeout":
		why = "idle_replication_slot_timeout"
	case "wal_level_insufficient":
		why = "wal_level was not logical"
	}
	return fmt.Sprintf("the server gave up the log of slot %s (%s)", slot, why)
}

// verify compares the position with what the source knows.
func (o *Reader) verify(ctx context.Context, c *sideConn, s slot, after waybill.Position, p position) error {
	if after != "" && p.source != c.identity.Source {
		return o.stream.Gap(fmt.Sprintf("the position is one of source %s, this is %s: the source was replaced or restored from a dump",
			p.source, c.identity.Source), o.stream.StartOver())
	}
	switch {
	case !s.registered && s.exists && after == "":
		return o.stream.Gap(fmt.Sprintf("the slot %s is there already, and was not made for this stream", o.opts.Slot),
			fmt.Sprintf("configure another slot, or run select pg_drop_replication_slot('%s')", o.opts.Slot))
	case !s.registered:
		return o.stream.Gap("the source does not know this stream, though the target holds a position of it: the source was restored, or the stream was dropped",
			o.stream.StartOver())
	case !s.exists:
		return o.stream.Gap(fmt.Sprintf("the slot %s is gone, and with it the log that was not read", o.opts.Slot), o.stream.StartOver())
	case s.status == "lost":
		return o.stream.Gap(gaveUp(o.opts.Slot, s.lost), o.stream.StartOver())
	case s.plugin != "pgoutput":
		return fmt.Errorf("the slot %s is one of plug-in %s, not pgoutput; configure another slot", o.opts.Slot, s.plugin)
	case after == "" && s.confirmed > s.start:
		return o.stream.Gap(fmt.Sprintf("the log from %s to %s was confirmed, and the target holds none of it: the target was restored or replaced, "+
			"or somebody else read the slot",
			s.start, s.confirmed), o.stream.StartOver())
	case after != "" && s.confirmed > p.lsn:
		return o.stream.Gap(fmt.Sprintf("the slot %s stands at %s, past the target's %s: the target was restored, or somebody else moved, read or remade the slot",
			o.opts.Slot, s.confirmed, p.lsn), o.stream.StartOver())
	}
	if after == "" {
		return nil
	}
	restored := "the source was restored to an earlier state, or failed over to a server that had not received everything"
	if p.timeline > c.identity.Timeline {
		return o.stream.Gap(fmt.Sprintf("the position is on timeline %d, the source on timeline %d: %s", p.timeline, c.identity.Timeline, restored), o.stream.StartOver())
	}
	var text string
	if err := c.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		return server.Classify(err, "read the end of the source's log")
	}
	end, err := pgoutput.ParseLSN(text)
	if err == nil && end < p.lsn {
		err = o.stream.Gap(fmt.Sprintf("the position %s is ahead of the source's log, which ends at %s: %s", p.lsn, end, restored), o.stream.StartOver())
	}
	return err
}

// forked looks whether the position's timeline was left before the position.
func (o *Reader) forked(ctx context.Context, l *link, p position, now uint32) error {
	if p.timeline == 0 || p.timeline == now {
		return nil
	}
	results, err := l.pg.PgConn().Exec(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", now)).ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 2 {
		return server.Classify(errors.Join(err, errors.New("no answer")), "read the source's timelines")
	}
	history, err := pgoutput.ParseHistory(results[0].Rows[0][1])
	if err != nil {
		return err
	}
	if end, ok := pgoutput.ForkOf(history, p.timeline); !ok || end < p.lsn {
		return o.stream.Gap(fmt.Sprintf("the source left timeline %d at %s, before the position %s: it failed over to a server that had not received everything",
			p.timeline, end, p.lsn), o.stream.StartOver())
	}
	return nil
}

// allBinary tells whether all columns that are published can be read in the binary format.
func (o *Reader) allBinary(ctx context.Context, c *sideConn) (bool, error) {
	rows, err := c.Query(ctx, `select distinct a.atttypid, -1 from pg_publication_tables t
  join pg_namespace n on n.nspname = t.schemaname join pg_class c on c.relname = t.tablename and c.relnamespace = n.oid
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where t.pubname = $1 and t.schemaname <> 'waybill'`, o.opts.Publication)
	if err != nil {
		return false, server.Classify(err, "look at the published columns")
	}
	types, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k typeKey, err error) {
		err = row.Scan(&k.oid, &k.modifier)
		return k, err
	})
	if err != nil {
		return false, server.Classify(err, "look at the published columns")
	}
	var cat catalog
	for _, k := range types {
		t, err := cat.typeOf(ctx, c, k.oid, k.modifier)
		if err != nil {
			return false, server.Classify(err, "look at the published columns")
		}
		if !t.binary.HasBinary() {
			return false, nil
		}
	}
	return true, nil
}

// connect opens the stream and starts to receive.
func (o *Reader) connect(ctx context.Context, s server.Identity, found slot, p position, after waybill.Position, binary bool) error {
	conn, err := server.Connect(ctx, o.opts.URL, server.Options{Name: o.side.name, Params: linkParams})
	if err != nil {
		if server.Code(err) == "42501" {
			err = denied(err, "read slot "+o.opts.Slot, replicationSQL(s.Role))
		}
		return err
	}
	l := &link{pg: conn, queue: newQueue(2*o.opts.MaxBytes, max(p.lsn, found.confirmed)), acked: &o.acked}
	if err := o.forked(ctx, l, p, s.Timeline); err != nil {
		l.stop(false)
		return err
	}
	l.backend = conn.PgConn().PID()
	sql := o.startSQL(s.Version, found.confirmed, binary)
	err = o.side.do(ctx, func(c *sideConn) error {
		err := o.patiently(ctx, c, o.opts.Slot, o.former, func() error { return server.Classify(l.begin(ctx, sql), "read slot "+o.opts.Slot) })
		if err != nil {
			return err
		}
		// Until it was ours another session may have confirmed more.
		if found, err = o.findSlot(ctx, c); err != nil || fault.Broken(fault.IgnoreIdentity) {
			return err
		}
		return o.verify(ctx, c, found, after, p)
	})
	if err != nil {
		l.stop(false)
		return err
	}
	p.source, p.timeline = s.Source, s.Timeline
	o.at, o.token, o.link, o.movedAt = p, after, l, time.Now()
	o.acked.Store(uint64(found.confirmed))
	o.head.Store(0)
	a := o.assembler(l, found, p, binary)
	meet := a.last != 0
	l.start(a, func(ctx context.Context) { o.maintain(ctx, l.queue.fail) })
	o.receiving.Store(l.queue)
	if !meet {
		return nil
	}
	select { // the target's last action, or that it is not there
	case <-a.met:
		return nil
	case <-l.receiver:
		_, _, err = l.queue.take(0, 0)
	case <-ctx.Done():
		err = ctx.Err()
	}
	o.unlink(false)
	return err
}

func (o *Reader) startSQL(version int, at pgoutput.LSN, binary bool) string {
	protocol, streaming, messages := 1, "", ""
	switch {
	case version >= 160000:
		protocol, streaming = 4, ", streaming 'parallel'"
	case version >= 140000:
		protocol, streaming = 2, ", streaming 'on'"
	}
	if o.opts.Outbox { // its rows are few, and whole at the commit
		streaming = ""
	}
	if version >= 140000 {
		messages = ", messages 'true'"
	}
	format := ""
	if binary {
		format = ", binary 'true'"
	}
	return fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL %s (proto_version '%d', publication_names '%s'%s%s%s)`,
		server.Quote(o.opts.Slot), at, protocol, strings.ReplaceAll(server.Quote(o.opts.Publication), "'", "''"), streaming, messages, format)
}

func (o *Reader) assembler(l *link, found slot, p position, binary bool) *assembler {
	cat := &catalog{side: o.side, tables: o.opts.Tables, outbox: o.opts.Outbox, binary: binary}
	a := &assembler{
		source: strings.TrimPrefix(p.source, "postgres:"), outbox: o.opts.Outbox, spillDir: o.opts.SpillDir,
		done: p.lsn, passed: l.queue.passed, describe: cat.describe, relations: map[uint32]*relation{},
		skipped: func() { o.suppressed.Add(1) },
		gap: func() error {
			return o.stream.Gap(fmt.Sprintf("the log does not hold the action %s (number %d), which the target holds: the source was restored, "+
				"or failed over to a server that had not received everything", p.id, p.seq), o.stream.StartOver())
		},
	}
	a.out = func(it item) error { return l.queue.put(a.ctx, it) }
	a.met = make(chan struct{})
	if p.commit >= found.confirmed && p.lsn > found.confirmed && p.seq > 0 {
		a.last, a.lastXID = p.commit, p.xid
	}
	if fault.Broken(fault.IgnoreIdentity) {
		a.last = 0
	}
	return a
}
