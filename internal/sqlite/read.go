package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/spill"
	"github.com/waybill-data/waybill/internal/fault"
)

// Next blocks for the next batch; see waybill.Reader.
func (o *Outbox) Next(ctx context.Context) (waybill.Batch, error) {
	if o.read == nil {
		return waybill.Batch{}, fmt.Errorf("read outbox %s: it is not open", o.opt.Path)
	}
	for {
		if err := ctx.Err(); err != nil {
			return waybill.Batch{}, err
		}
		if o.failed != nil {
			return waybill.Batch{}, o.failed
		}
		asked, before := o.asked.Load(), o.at
		b, err := o.look(ctx)
		if err != nil {
			if r := new(replacedError); errors.As(err, &r) {
				err = o.gap(r.Error(), "start the pipeline again: it then compares the file that is there now with what the target holds")
			}
			return waybill.Batch{}, err
		}
		if o.at != before || asked != o.heads && o.failed == nil {
			if len(b.Actions) == 0 {
				o.heads = asked
			}
			o.handed = b.Upto
			return b, nil
		}
		if o.failed == nil {
			o.pause(ctx)
		}
	}
}

// pause waits for the time of the next look, or for a call of Head.
func (o *Outbox) pause(ctx context.Context) {
	timer := time.NewTimer(o.delay - rand.N(o.delay/4+1)) //nolint:gosec // spreads looks, guards nothing
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-o.wake:
	case <-timer.C:
	}
	o.delay = min(o.delay+o.delay/16+1, max(idleDelay, o.opt.MaxDelay))
}

// look reads what is new, up to the bounds of a batch. A batch without actions moves the
// position from zero to where reading starts, or over rows that carry nothing.
func (o *Outbox) look(ctx context.Context) (waybill.Batch, error) {
	c, quiet := o.read, context.WithoutCancel(ctx)
	if err := c.replaced(); err != nil {
		return waybill.Batch{}, err
	}
	version, err := c.number(quiet, "PRAGMA data_version")
	if err != nil {
		return waybill.Batch{}, c.wrap("read", err)
	}
	p := &portion{o: o, start: o.at}
	if version != o.version || o.more {
		if err := o.readPortion(quiet, p); err != nil {
			return waybill.Batch{}, err
		}
		// After rows comes one more look: it proves that none are missing behind them.
		o.version, o.more = version, p.more || p.end() != o.at
	}
	b := waybill.Batch{After: o.handed, Upto: p.end().position(), Actions: p.actions, At: p.at}
	if p.end() != o.at {
		o.at, o.delay = p.end(), o.opt.MaxDelay
	}
	o.failed = p.failed
	return b, nil
}

// readPortion reads rows in one snapshot, and makes sure that they are on disk.
func (o *Outbox) readPortion(ctx context.Context, p *portion) error {
	c := o.read
	// The last row that was handed on is read once more, as proof that it still is what it was.
	const rowsSQL = `SELECT n, action, name, trace, at, CASE WHEN n > ?1 THEN cast(changes AS blob) END
FROM waybill_outbox WHERE n >= ?1 ORDER BY n`
	if err := c.each(ctx, rowsSQL, p.row, o.at.N); err != nil {
		if missingTable(err, "waybill_outbox") {
			return o.gap("the outbox was removed from the source "+c.path, "run waybill outbox install, and drop the pipeline's position at the target")
		}
		return c.wrap("read", err)
	}
	p.finish()
	if p.broken != nil {
		return p.broken
	}
	if p.missing > 0 {
		p.failed = o.removed(ctx, p.due, p.missing)
	}
	if p.end() == o.at {
		return o.atEnd(ctx)
	}
	if err := o.flush(c); err != nil {
		return err
	}
	return c.replaced()
}

// atEnd proves that no row follows the last one handed on.
func (o *Outbox) atEnd(ctx context.Context) error {
	head, err := o.read.number(ctx, headSQL)
	if err != nil {
		return o.read.wrap("read", err)
	}
	newer, err := o.read.number(ctx, "SELECT count(*) FROM (SELECT 1 FROM waybill_outbox WHERE n > ? LIMIT 1)", o.at.N)
	switch {
	case err != nil:
		return o.read.wrap("read", err)
	case newer > 0: // committed since the rows were read, or malformed: the next look tells
		return nil
	case head > o.at.N:
		return o.removed(ctx, o.at.N+1, head)
	case head < o.at.N:
		return o.gap(fmt.Sprintf("waybill_outbox ends at row %d, and row %d was read already", head, o.at.N), "the source was overwritten with an older copy: drop the pipeline and start anew")
	}
	return nil
}

// removed judges rows that are gone though this reader has not handed them on. Rows are
// removed only after their acknowledgement was committed; where the source has one, another
// engine carried them, which took the stream while this one was halted.
func (o *Outbox) removed(ctx context.Context, from, to int64) error {
	reg, err := lookUp(ctx, o.read, o.opt.Stream)
	if err != nil {
		return err
	}
	if reg.found && reg.N >= to {
		return fmt.Errorf("read stream %s at the source: rows %d to %d of waybill_outbox are acknowledged already: %w", o.opt.Stream, from, to, waybill.ErrFenced)
	}
	return o.gap(fmt.Sprintf("rows %d to %d of waybill_outbox were removed before they were read", from, to), "")
}

// flush makes the rows that were read durable before they are handed on.
func (o *Outbox) flush(c *conn) error {
	if fault.Broken(fault.NoFlush) {
		return nil
	}
	err := o.syncWAL(c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if r := c.replaced(); r != nil {
			return r
		}
		return waybill.AsTransient(err)
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EMFILE):
		return waybill.AsTransient(err)
	}
	return err
}

// actionSize is what an action takes in memory beside its changes, in bytes.
const actionSize = 192

// portion collects rows into whole actions.
type portion struct {
	o       *Outbox
	start   point
	actions []waybill.Action
	ends    []int64 // the last row of each action
	bytes   int64
	open    *waybill.Action // rows may still follow
	changes spill.Builder
	n       int64 // the last row seen
	due     int64 // the first of the rows that are gone
	missing int64 // the last of them, 0 if none are
	more    bool
	failed  error // what follows the last action can never be read
	broken  error // the history is not what it was
}

// row takes one row of rowsSQL.
func (p *portion) row(r []driver.Value) (bool, error) {
	n, _ := r[0].(int64)
	id := str(r[1])
	if n == p.start.N {
		if id != p.start.Action {
			p.broken = p.o.gap(fmt.Sprintf("row %d of waybill_outbox belongs to action %s, and it was read as action %s", n, id, p.start.Action),
				"the source was overwritten with another copy: drop the pipeline and start anew")
		}
		return p.broken == nil, nil
	}
	if due := max(p.n, p.start.N) + 1; n != due {
		p.due, p.missing = due, n-1
		p.finish()
		return false, nil
	}
	if p.open == nil || p.open.ID != id {
		p.finish()
		if len(p.actions) >= p.o.opt.MaxActions || p.bytes >= p.o.opt.MaxBytes {
			p.more = true
			return false, nil
		}
		if len(p.actions) == 0 && id == p.start.Action {
			return p.late(n, r), nil
		}
		p.open = &waybill.Action{ID: id, Seq: p.start.Seq + uint64(len(p.actions)) + 1, Size: actionSize + len(id)}
	}
	p.n = n
	return p.add(n, r), nil
}

// late takes a row of an action that was handed on without it. The position moves over one
// that carries nothing; any other is refused, since an action is not delivered in two parts.
func (p *portion) late(n int64, r []driver.Value) bool {
	data, _ := r[5].([]byte)
	if list, err := p.o.decode.Decode(data); err == nil && list.Len() == 0 {
		p.start.N = n
		return true
	}
	p.failed = &waybill.Refusal{
		Action: p.start.Action, Seq: p.start.Seq + 1,
		Reason: fmt.Sprintf("row %d of waybill_outbox came after its action was read: rows of one action were committed in two transactions", n),
		Remedy: fmt.Sprintf("insert its changes again under an action ID of their own, if they shall be carried, and empty it with UPDATE waybill_outbox SET changes = '[]' WHERE n = %d", n),
	}
	return false
}

// add appends a row's changes to the open action.
func (p *portion) add(n int64, r []driver.Value) bool {
	data, _ := r[5].([]byte)
	list, err := p.o.decode.Decode(data)
	if err != nil {
		p.refuse(n, err.Error())
		return false
	}
	at, err := parseTime(str(r[4]))
	if err != nil {
		p.refuse(n, "column at is no UTC time")
		return false
	}
	a := p.open
	if name := str(r[2]); name != "" {
		a.Name = name
	}
	if trace := str(r[3]); trace != "" {
		a.Trace = trace
	}
	a.Time = at
	if err := p.changes.Add(data, list); err != nil {
		p.broken = err
		return false
	}
	return true
}

// refuse drops the open action: nobody can make one of its rows.
func (p *portion) refuse(n int64, reason string) {
	p.failed = &waybill.Refusal{
		Action: p.open.ID, Seq: p.open.Seq,
		Reason: fmt.Sprintf("row %d of waybill_outbox is malformed: %s", n, reason),
		Remedy: fmt.Sprintf("correct it with UPDATE waybill_outbox SET changes = … WHERE n = %d ('[]' carries nothing)", n),
	}
	p.open = nil
}

// finish ends the open action.
func (p *portion) finish() {
	if p.open == nil {
		return
	}
	changes, size := p.changes.Take()
	p.open.Changes = changes
	p.open.Size += size
	p.actions = append(p.actions, *p.open)
	p.ends = append(p.ends, p.n)
	p.bytes += int64(p.open.Size)
	p.open = nil
}

// at is the position after the ith action.
func (p *portion) at(i int) waybill.Position { return p.point(i).position() }

func (p *portion) point(i int) point {
	return point{V: positionVersion, Source: p.start.Source, N: p.ends[i], Seq: p.actions[i].Seq, Action: p.actions[i].ID}
}

func (p *portion) end() point {
	if n := len(p.actions); n > 0 {
		return p.point(n - 1)
	}
	return p.start
}

// parseTime reads what strftime and most applications write; without a zone it is UTC.
func parseTime(s string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00"} {
		if t, err = time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return t, err
}
