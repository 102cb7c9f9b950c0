package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	sqlitedriver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/fault"
)

// transact writes the batch and its position in one transaction. A batch that an immediate
// foreign key stops is tried once more with the keys deferred to the end of each action: the
// rows of an action may come in any order. What fails then too is reported as the first
// attempt saw it, which knows the change.
func (w *Writer) transact(ctx context.Context, b *waybill.Batch) error {
	err := w.attempt(ctx, b, false)
	first, ok := errors.AsType[*keyError](err)
	if !ok {
		return err
	}
	err = w.attempt(ctx, b, true)
	if again, ok := errors.AsType[*waybill.Refusal](err); ok && again.Seq == first.refusal.Seq {
		return first.refusal
	}
	return err
}

// attempt is one transaction; deferred says that foreign keys are looked at after an action,
// not after each of its changes.
func (w *Writer) attempt(ctx context.Context, b *waybill.Batch, deferred bool) error {
	if err := w.c.begin(ctx); err != nil {
		return err
	}
	fault.Hit(fault.WriteBegun)
	if deferred { // until the end of the transaction
		if err := w.c.script(context.WithoutCancel(ctx), "PRAGMA defer_foreign_keys=ON"); err != nil {
			w.c.rollback()
			return err
		}
	}
	renewed, err := w.fill(ctx, b)
	if err != nil {
		w.c.rollback()
		return err
	}
	fault.Hit(fault.WritePosition)
	if err := w.finish(ctx, b); err != nil {
		return err
	}
	if renewed > 0 {
		w.renewed.Store(renewed)
		fault.Hit(fault.LeaseRenewed)
	}
	return nil
}

// fill puts data and position into the open transaction.
func (w *Writer) fill(ctx context.Context, b *waybill.Batch) (renewed int64, err error) {
	// Looked at first, so that an engine that was overtaken hears of that, and not of the
	// conflicts that its stale changes would meet. Nobody can move it until the commit.
	quiet := context.WithoutCancel(ctx)
	if !fault.Broken(fault.NoFence) {
		if err := w.mine(quiet, b.After); err != nil {
			return 0, err
		}
	}
	if fault.Broken(fault.PositionFirst) {
		if err := errors.Join(w.move(quiet, b), w.c.commit(), w.c.begin(quiet)); err != nil {
			return 0, err
		}
	}
	if err := w.plans.refresh(quiet); err != nil {
		return 0, err
	}
	w.found = 0
	w.plans.begin()
	if err := w.apply(ctx, b); err != nil {
		return 0, err
	}
	if fault.Broken(fault.PositionFirst) {
		return 0, nil
	}
	if fault.Broken(fault.PositionApart) {
		if err := errors.Join(w.c.commit(), w.c.begin(quiet)); err != nil {
			return 0, err
		}
	}
	if renewed, err = w.renewWithin(quiet); err != nil {
		return 0, err
	}
	return renewed, w.move(quiet, b)
}

// move is the compare-and-swap of the position.
func (w *Writer) move(ctx context.Context, b *waybill.Batch) error {
	const set = `UPDATE waybill_position SET position = ?, seq = ?, applied = applied + ?, filtered = filtered + ?, foreign_writes = foreign_writes + ?, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE stream = ?`
	empty := 0 // what a mapping has emptied
	for i := range b.Actions {
		if b.Actions[i].Len() == 0 {
			empty++
		}
	}
	args := []any{string(b.Upto), b.LastSeq(w.seq), len(b.Actions) - empty, empty, int64(w.found), w.stream}
	if fault.Broken(fault.NoFence) {
		_, err := w.c.exec(ctx, set, args...)
		return err
	}
	n, err := w.c.exec(ctx, set+" AND position = ? AND epoch = ?", append(args, string(b.After), w.epoch)...)
	if err == nil && n != 1 {
		err = fmt.Errorf("write stream %s: %w", w.stream, waybill.ErrFenced)
	}
	return err
}

// finish commits the transaction. Where SQLite gives no clear answer it reads back what
// happened.
func (w *Writer) finish(ctx context.Context, b *waybill.Batch) error {
	err := w.commit(w.c)
	if err == nil {
		return nil
	}
	if busy(err) { // somebody reads, in a file without write-ahead logging; nothing was done
		w.c.rollback()
		return err
	}
	if fault.Broken(fault.RetryUnknown) {
		w.c.rollback()
		return waybill.AsTransient(err)
	}
	failed := w.c.wrap("commit to", err)
	w.doubt = &waybill.Batch{After: b.After, Upto: b.Upto, Actions: b.Actions}
	w.disconnect()
	done, err := w.reconnect(context.WithoutCancel(ctx), b)
	switch {
	case done:
		// settle has moved the position; Write moves it to the same place.
		return nil
	case err != nil && waybill.Transient(err):
		return err // still in doubt; the next Write settles it before it does anything
	case err != nil:
		return err
	}
	return waybill.AsTransient(failed)
}

// apply executes the changes in order.
func (w *Writer) apply(ctx context.Context, b *waybill.Batch) error {
	quiet := context.WithoutCancel(ctx)
	done := 0
	for i := range b.Actions {
		a := &b.Actions[i]
		if a.Changes == nil {
			continue
		}
		var truncates []waybill.Change // in a row
		for c, err := range a.Changes.All() {
			if err != nil {
				return fmt.Errorf("read the changes of action %s: %w", a.ID, err)
			}
			if c.Op == waybill.Truncate {
				truncates = append(truncates, *c)
				continue
			}
			if err := w.truncate(quiet, a, &truncates); err != nil {
				return err
			}
			if err := w.change(quiet, a, c); err != nil {
				return err
			}
			if done == 0 {
				if fault.Broken(fault.SplitAction) {
					if err := errors.Join(w.c.commit(), w.c.begin(quiet)); err != nil {
						return err
					}
				}
				fault.Hit(fault.WriteData)
			}
			if done++; done%lookUpEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := w.truncate(quiet, a, &truncates); err != nil {
			return err
		}
		if err := w.referencesHold(a); err != nil {
			return err
		}
	}
	return nil
}

// referencesHold refuses an action at whose end a foreign key points nowhere that was not
// looked at before. At the commit SQLite would say so too, but not whose it is.
func (w *Writer) referencesHold(a *waybill.Action) error {
	open, _, err := w.c.dc.Status(sqlitedriver.DBStatusDeferredFKs, false)
	if err != nil || open == 0 {
		return err
	}
	return &waybill.Refusal{
		Action: a.ID, Seq: a.Seq,
		Reason: "after its last change a foreign key of the target points to a row that does not exist",
		Remedy: "carry the referenced row in the same action or before it; PRAGMA foreign_key_check shows rows that were wrong before",
	}
}

// change executes one change.
func (w *Writer) change(ctx context.Context, a *waybill.Action, c *waybill.Change) error {
	pl, err := w.plans.plan(ctx, c)
	if err != nil {
		return w.refuse(ctx, a, c, err)
	}
	n, err := pl.main.run(ctx, c)
	if err != nil && pl.fallback != nil && insertRefused(err) {
		if found, again := pl.fallback.run(ctx, c); again == nil && found > 0 {
			n, err = found, nil
		}
	}
	if pl.fact {
		n, err = w.fact(ctx, pl, c, n, err)
	}
	if err == nil {
		err = judge(pl, c, n)
	}
	if err != nil {
		return w.refuse(ctx, a, c, err)
	}
	return nil
}

// insertRefused: the row that an upsert would insert lacks something that an existing row
// may have.
func insertRefused(err error) bool {
	c := code(err)
	return c == lib.SQLITE_CONSTRAINT_NOTNULL || c == lib.SQLITE_CONSTRAINT_CHECK
}

// judge looks at the number of rows that a statement changed.
func judge(pl *plan, c *waybill.Change, n int64) error {
	switch {
	case c.Op == waybill.Truncate:
		return nil
	case n > 1:
		return &refusal{
			reason: fmt.Sprintf("the key matches %d rows of table %s", n, pl.table.name),
			remedy: fmt.Sprintf("name the columns that identify a row, and add a unique index on them to %s", pl.table.name),
		}
	case n == 1 || c.Op == waybill.Delete:
		return nil
	case c.Op == waybill.Update:
		return &refusal{reason: "there is no row with this key to update", remedy: "use upsert where the row may be missing"}
	case pl.once:
		return errKeyExists
	}
	return &refusal{reason: fmt.Sprintf("a trigger of table %s skipped the row", pl.table.name)}
}

// run binds the change's values and executes the statement.
func (s *statement) run(ctx context.Context, c *waybill.Change) (int64, error) {
	if cap(s.decoded) > maxDecoded {
		s.decoded = nil
	}
	s.decoded = s.decoded[:0]
	for i := range s.sources {
		src := &s.sources[i]
		col := &c.Row
		if src.key {
			col = &c.Key
		}
		value, err := s.decode((*col)[src.index].Value)
		if errors.Is(err, waybill.ErrNullDocument) && src.verbatim() {
			s.args[i].Value = "null" // the text, which is not NULL
			continue
		}
		if err != nil {
			return 0, &refusal{
				reason: fmt.Sprintf("column %s: the source's value cannot be taken: %s", src.column.name, err),
				remedy: fmt.Sprintf("leave the column out of this pipeline (mapping.%s.drop): the value is on its way already, and correcting it at the source helps later changes alone", c.Entity),
			}
		}
		v, reason := src.convert(value)
		if reason != "" {
			return 0, &refusal{reason: fmt.Sprintf("column %s (%s): %s", src.column.name, declaredType(src.column), reason)}
		}
		s.args[i].Value = v
	}
	res, err := s.ExecContext(ctx, s.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// maxDecoded bounds the memory, in bytes, that a statement keeps for the values of its next run.
const maxDecoded = 1 << 20

// decode makes JSON of a value in the source's own encoding, in memory that holds until the next run.
func (s *statement) decode(v waybill.Value) (_ waybill.Value, err error) {
	if v.Form != waybill.Native {
		return v, nil
	}
	from := len(s.decoded)
	if s.decoded, err = v.AppendJSON(s.decoded); err != nil {
		return v, err
	}
	return waybill.Value{Form: waybill.JSON, Raw: s.decoded[from:len(s.decoded):len(s.decoded)]}, nil
}

// convert is convert for the column, except that a JSON document is kept as it is written (in a
// column of text "a" stays in its quotes), and that a float is one: PostgreSQL does not always write
// the shortest decimal that stands for it (1e23 is 9.999999999999999e+22).
func (s *source) convert(v waybill.Value) (driver.Value, string) {
	if s.float && v.Form == waybill.JSON && s.column.affinity == double && envelope.KindOf(v.Raw) == envelope.Number {
		if f, err := strconv.ParseFloat(view(v.Raw), 64); err == nil {
			return f, ""
		}
	}
	if v.Form == waybill.JSON && s.verbatim() {
		return view(v.Raw), ""
	}
	return convert(v, s.column)
}

// verbatim: the column holds JSON documents as they are written.
func (s *source) verbatim() bool {
	return s.document && (s.column.affinity == text || s.column.affinity == none)
}

func declaredType(c *column) string {
	if c.declared == "" {
		return "no type"
	}
	return strings.ToUpper(c.declared)
}
