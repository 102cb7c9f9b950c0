package poll

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	outboxFormat = "1"

	pollStatement  = "waybill_poll"
	rowsStatement  = "waybill_rows"
	plainStatement = "waybill_plain_rows"
	flushStatement = "waybill_flush"

	// fetchSize is how many transactions are named at a time in a large window.
	fetchSize = 4000
	// minRows is how many actions are asked for at least, whatever their size.
	minRows = 16
)

// boundedRows selects the outbox rows of the transactions in w(xid, ord), in order. Past the
// size given by parameter %[1]s it names transactions only (changes is null): whole ones, and
// never the first.
const boundedRows = `select xid, ord, part, n, id, at, name, trace, case when upto <= %[1]s or ord = first then changes end
from (
  select w.xid, w.ord, b.part, b.n, b.id, b.at, b.name, b.trace, b.changes,
    sum(pg_column_size(b.changes)) over sizes as upto, first_value(w.ord) over sizes as first
  from %[2]s left join waybill.outbox b on b.xid = w.xid
  window sizes as (order by w.ord)
) r order by ord, n`

// pollSQL takes, in one statement and thus one snapshot, that snapshot and the transactions
// that it sees and the last one ($1 its end, $2 those that were running in it) did not. The
// first row is the head: the snapshot, and how many transactions there are, at most $3, the end
// of the log, which is past their commits, unless it is on disk already, the highest transaction in the outbox, and the
// consumer's registration. The rows themselves come only if there are fewer than $3.
var pollSQL = `with recent as materialized (select count(*) as n from (` + windowSQL + ` limit $3::int) l),
w as materialized (select xid, ord from (` + windowSQL + `) o where (select n from recent) < $3::int)
select null::xid8, null::int8, null::int2, null::int8, null::uuid, null::timestamptz, pg_current_snapshot()::text,
  concat_ws(' ', (select n from recent),
    case when pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() then pg_current_wal_insert_lsn()::text else '-' end,
    coalesce((select xid from waybill.outbox_order order by xid desc limit 1), '0'),
    coalesce((select registered::text from waybill.consumer where name = $5::text), '-')), null::jsonb
union all (` + fmt.Sprintf(boundedRows, "$4::int8", "w") + `)`

const windowSQL = `select xid, ord from waybill.outbox_order where xid >= $1::text::xid8
  union all select xid, ord from waybill.outbox_order where xid = any ($2::text::xid8[])`

// rowsSQL takes the rows of the transactions $1, whose order is $2.
var rowsSQL = fmt.Sprintf(boundedRows, "$3::int8", "unnest($1::text::xid8[], $2::text::int8[]) w (xid, ord)")

// plainSQL takes the same rows without looking at their size first, which costs the server a
// fifth less.
const plainSQL = `select w.xid, w.ord, b.part, b.n, b.id, b.at, b.name, b.trace, b.changes
from unnest($1::text::xid8[], $2::text::int8[]) w (xid, ord) left join waybill.outbox b on b.xid = w.xid order by w.ord, b.n`

// flushSQL writes a record and, being a commit, waits until it is on disk, and everything
// before it.
// It does so only if the log was not flushed up to $1 meanwhile.
const flushSQL = `select pg_logical_emit_message(true, 'waybill', '') where pg_current_wal_flush_lsn() < $1::text::pg_lsn`

// window is what lies between two snapshots, as far as it was not read yet.
type window struct {
	from, to snapshot
	// pairs are known transactions; after them, if more, come those above ord.
	pairs  []pair
	ord    int64
	more   bool
	cursor bool   // the cursor for more is open
	last   int    // actions that the last query of rows gave
	heads  uint64 // calls of Head before it was polled
}

// pair is a transaction and its place in the order of commits.
type pair struct {
	xid uint64
	ord int64
}

func (w *window) exhausted() bool { return len(w.pairs) == 0 && !w.more }

// Next returns the next batch. While there is nothing it polls, every MaxDelay at first and
// ever more rarely. What it returns is on the source's disk.
func (o *Reader) Next(ctx context.Context) (waybill.Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return waybill.Batch{}, err
		}
		if o.conn == nil {
			return waybill.Batch{}, waybill.AsTransient(errors.New("read outbox: the reader is not open"))
		}
		if len(o.ready) > 0 {
			return o.cut(), nil
		}
		if o.refusal != nil {
			return waybill.Batch{}, o.refusal
		}
		if !o.window.exhausted() {
			if err := o.page(ctx); err != nil {
				return waybill.Batch{}, o.broken(ctx, err, "read outbox")
			}
			continue
		}
		if err := o.pause(ctx); err != nil {
			return waybill.Batch{}, err
		}
		heads := o.heads.Load()
		if err := o.poll(ctx); err != nil {
			return waybill.Batch{}, o.broken(ctx, err, "poll outbox")
		}
		o.window.heads = heads
		if len(o.ready) == 0 && o.refusal == nil && o.window.exhausted() && heads != o.headServed {
			return o.cut(), nil
		}
	}
}

// broken closes the connection, on which nothing can be relied any more.
func (o *Reader) broken(ctx context.Context, err error, doing string) error {
	_ = o.conn.Close(context.WithoutCancel(ctx))
	o.conn = nil
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, ok := errors.AsType[*waybill.GapError](err); ok {
		return err
	}
	return server.Classify(err, doing)
}

// pause waits until the next poll is due, or somebody asked for the head.
func (o *Reader) pause(ctx context.Context) error {
	delay := o.opts.MaxDelay
	for i := idlePolls; i < o.idle && delay < idleDelay; i++ {
		delay *= 2
	}
	if o.idle >= idlePolls {
		delay = max(o.opts.MaxDelay, min(delay, idleDelay))
	}
	delay -= time.Since(o.polled)
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.wake:
	case <-timer.C:
	}
	return nil
}

// poll looks for a new window and reads its first rows.
func (o *Reader) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	o.polled = time.Now()
	from := o.at.from
	limit := o.opts.MaxActions + 1
	rows := o.conn.PgConn().ExecPrepared(ctx, pollStatement, [][]byte{
		strconv.AppendUint(nil, from.xmax, 10), []byte(from.array()), strconv.AppendInt(nil, int64(limit), 10),
		strconv.AppendInt(nil, o.opts.MaxBytes, 10), []byte(o.opts.Stream),
	}, nil, []int16{1})
	var (
		head pollHead
		err  error
	)
	if rows.NextRow() {
		v := rows.Values()
		head, err = parsePollHead(string(v[colName]), string(v[colTrace]))
	}
	a := assembly{o: o, visible: head.now, bound: o.opts.MaxBytes}
	if err = a.take(rows, err); err != nil {
		return err
	}
	if head.registered != o.registered {
		return o.stream.Gap("the consumer was dropped while it was read", o.stream.StartOver())
	}
	if err := a.finish(ctx); err != nil {
		return err
	}
	if head.count == 0 {
		o.idle++
	} else {
		o.idle = 0
		if err := o.flush(ctx, head.lsn); err != nil {
			return err
		}
	}
	to := head.now.upTo(max(head.last, from.xmax-1))
	if fault.Broken(fault.CursorByID) {
		to.xip = nil
	}
	o.window = window{from: from, to: to, pairs: a.pairs, more: head.count >= limit, last: len(o.ready)}
	return nil
}

// flush makes sure that the source's log is on disk up to lsn: a transaction with
// synchronous_commit off can be seen before.
func (o *Reader) flush(ctx context.Context, lsn string) error {
	if lsn == "-" || fault.Broken(fault.NoFlush) {
		return nil
	}
	_, err := o.conn.PgConn().ExecPrepared(ctx, flushStatement, [][]byte{[]byte(lsn)}, nil, nil).Close()
	return err
}

// pollHead is the first row of a poll.
type pollHead struct {
	now        snapshot
	count      int    // of transactions, up to the limit
	lsn        string // the end of the source's log, or "-" if that is on disk
	last       uint64 // the highest transaction in the outbox, all of it considered
	registered string
}

func parsePollHead(snap, rest string) (pollHead, error) {
	now, err := parseSnapshot(snap)
	if err != nil {
		return pollHead{}, err
	}
	f := strings.Fields(rest)
	if len(f) != 4 {
		return pollHead{}, fmt.Errorf("the poll's head is %q", rest)
	}
	h := pollHead{now: now, lsn: f[1], registered: f[3]}
	if h.count, err = strconv.Atoi(f[0]); err != nil {
		return pollHead{}, err
	}
	h.last, err = strconv.ParseUint(f[2], 10, 64)
	return h, err
}

// page reads further rows of the window.
func (o *Reader) page(ctx context.Context) error {
	w := &o.window
	if len(w.pairs) == 0 {
		if err := o.fetch(ctx); err != nil {
			return err
		}
		if len(w.pairs) == 0 { // what was handed on last was the window's end already
			o.at.from, o.at.to, o.at.ord = w.to, w.to, 0
			return nil
		}
	}
	n := min(len(w.pairs), o.opts.MaxActions)
	if w.last > 0 {
		n = min(n, max(minRows, 2*w.last))
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	xids, ords := []byte{'{'}, []byte{'{'}
	for i, p := range w.pairs[:n] {
		if i > 0 {
			xids, ords = append(xids, ','), append(ords, ',')
		}
		xids, ords = strconv.AppendUint(xids, p.xid, 10), strconv.AppendInt(ords, p.ord, 10)
	}
	statement, args := rowsStatement, [][]byte{append(xids, '}'), append(ords, '}'), strconv.AppendInt(nil, o.opts.MaxBytes, 10)}
	if o.average > 0 && o.average*int64(n) < o.opts.MaxBytes/2 { // where that is wrong, rows are read in vain, once
		statement, args = plainStatement, args[:2]
	}
	a := assembly{o: o, visible: w.to, fresh: make([]readyAction, 0, n), bound: o.opts.MaxBytes}
	if err := a.take(o.conn.PgConn().ExecPrepared(ctx, statement, args, nil, []int16{1}), nil); err != nil {
		return err
	}
	if err := a.finish(ctx); err != nil {
		return err
	}
	w.last = len(o.ready)
	if w.last > 0 {
		o.average = max(1, a.bytes/int64(w.last))
	}
	if o.refusal != nil {
		return nil
	}
	if a.seen != n {
		return fmt.Errorf("%d transactions were asked for, %d came", n, a.seen)
	}
	w.pairs = append(a.pairs, w.pairs[n:]...)
	return nil
}

// fetch names the next transactions of the window. They come from a cursor that the server
// keeps outside any transaction, so that no snapshot is held for as long as the window takes.
func (o *Reader) fetch(ctx context.Context) error {
	w := &o.window
	ctx, cancel := context.WithTimeout(ctx, cursorTimeout)
	defer cancel()
	if !w.cursor {
		rest := position{from: w.from, to: w.to, ord: w.ord}
		sql := fmt.Sprintf(`begin; declare waybill_window no scroll cursor with hold for
select xid, ord from (%s) f where pg_visible_in_snapshot(xid, '%s') order by ord; commit`, rest.followingSQL(), w.to)
		if _, err := o.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
		w.cursor = true
	}
	rows := o.conn.PgConn().ExecParams(ctx, "fetch "+strconv.Itoa(fetchSize)+" from waybill_window", nil, nil, nil, []int16{1})
	var err error
	n := 0
	for rows.NextRow() {
		v := rows.Values()
		n++
		if len(v) != 2 || len(v[0]) != 8 || len(v[1]) != 8 {
			err = errors.New("the window's cursor gave a row of another form")
			continue
		}
		w.pairs = append(w.pairs, pair{xid: uint64(bigEndian(v[0])), ord: bigEndian(v[1])})
	}
	if _, cerr := rows.Close(); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	if n < fetchSize {
		w.more, w.cursor = false, false
		_, err = o.conn.PgConn().Exec(ctx, "close waybill_window").ReadAll()
	}
	return err
}

// cut makes a batch of what is ready. At the end of the window the position is the window's
// end.
func (o *Reader) cut() waybill.Batch {
	b := waybill.Batch{After: o.token}
	if len(o.ready) > 0 {
		b.Actions = make([]waybill.Action, 0, min(len(o.ready), o.opts.MaxActions))
	}
	p := o.at
	var size int64
	n := 0
	for ; n < len(o.ready) && n < o.opts.MaxActions; n++ {
		r := &o.ready[n]
		if size += int64(r.action.Size); n > 0 && size > o.opts.MaxBytes {
			break
		}
		p.seq++
		r.action.Seq = p.seq
		p.id, p.xid, p.ord = r.action.ID, r.xid, r.ord
		b.Actions = append(b.Actions, r.action)
	}
	handed := o.ready[:n]
	o.ready = o.ready[n:]
	p.from, p.to = o.window.from, o.window.to
	within := p
	if len(o.ready) == 0 && o.refusal == nil && o.window.exhausted() {
		p.from, p.ord = p.to, 0
		o.headServed = max(o.headServed, o.window.heads)
	}
	o.at, o.token = p, p.encode()
	b.Upto = o.token
	b.At = func(i int) waybill.Position {
		r, q := &handed[i], within
		q.ord, q.seq, q.id, q.xid = r.ord, r.action.Seq, r.action.ID, r.xid
		return q.encode()
	}
	return b
}
