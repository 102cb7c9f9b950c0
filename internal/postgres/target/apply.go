package target

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

// schemaAge is how old the writer's view of the target's tables may get. What changes a table that is
// written shows at once, see unchanged; a foreign key between two others, which may put those that
// are written in an order, does not.
const schemaAge = time.Minute

// maxKinds bounds how many kinds of changes (table, operation, set of columns) are remembered,
// maxShapes how many orders of columns for each entity.
const (
	maxKinds  = 2000
	maxShapes = 256
)

// maxArrays bounds the memory, in bytes, that is kept for encoding the next statements.
const maxArrays = 16 << 20

// headStart is from how many changes in a group on the server is given them at once, so that it
// works while the next group is encoded.
const headStart = 32

// apply writes the batch: set-based first, and where the server refuses that, change by change in
// source order, which either succeeds or shows which change is refused. Where that shows at the end
// of an action only, the constraints are checked after each of its changes, to name the one.
func (w *Writer) apply(ctx context.Context, b waybill.Batch) error {
	if time.Since(w.schema.readAt) > schemaAge || len(w.schema.kinds) > maxKinds {
		w.forgetTables()
	}
	single, fresh, changed := false, len(w.schema.tables) == 0, false
	w.schema.lenient = w.lenient > 0
	var late *stepError // a constraint that was violated at the end of an action
	for {
		if err := w.link.trim(ctx, false); err != nil {
			return server.Classify(err, "write to the target")
		}
		err := w.attempt(ctx, b, single, late)
		var lost *lostError
		var step *stepError
		var refused *refusedError
		switch {
		case err == nil:
			fault.Hit(fault.WriteCommitted)
			return nil
		case errors.As(err, &lost):
			return w.lost(ctx, b, server.Classify(lost.err, "write to the target"))
		case errors.As(err, &step) && step.changed() && changed:
			return waybill.AsTransient(errors.New("write to the target: its tables are being altered"))
		case errors.As(err, &refused) && !fresh, step.changed(), differs(err) && !fresh, step.stale() && !fresh:
			fresh, changed = true, step.changed()
			w.forgetTables()
			if err := w.link.trim(ctx, true); err != nil {
				return server.Classify(err, "write to the target")
			}
		case refused != nil:
			if done, err := w.define(ctx, refused); err != nil {
				return w.unlessFenced(ctx, b, err)
			} else if !done {
				return w.unlessFenced(ctx, b, refused.refusal(b))
			}
		case differs(err):
			return w.unlessFenced(ctx, b, err)
		case step == nil:
			return err
		case step.fenced():
			return w.fenced()
		case step.foreign():
			w.schema.lenient, late = true, nil
		case !step.refusable():
			return w.explainStep(ctx, step)
		case late == nil && single && step.step.what == stepConstraints:
			late = step
		case single:
			if late != nil && !step.same(late) {
				step = late // that was a violation which the action mends
			}
			return w.unlessFenced(ctx, b, w.refusal(ctx, b, step))
		default:
			single = true
			w.single++
			w.log.Debug("applying a batch change by change", "stream", w.stream, "actions", len(b.Actions), "because", step.pg.Code)
		}
	}
}

// forgetTables has the definitions of the target's tables read again.
func (w *Writer) forgetTables() {
	w.schema.forget()
	w.plan = newApplyPlan(w.schema)
}

// unlessFenced returns err, unless another worker has the stream: then what the target refused
// may be what the other has written already.
func (w *Writer) unlessFenced(ctx context.Context, b waybill.Batch, err error) error {
	var position string
	var epoch int64
	qerr := w.link.conn.QueryRow(ctx, "SELECT position, epoch FROM waybill.position WHERE stream = $1", w.stream).Scan(&position, &epoch)
	switch {
	case errors.Is(qerr, pgx.ErrNoRows):
		return w.fenced()
	case qerr != nil:
		return server.Classify(qerr, "read the position at the target")
	case waybill.Position(position) != b.After || epoch != w.epoch:
		return w.fenced()
	}
	return err
}

// refusedError is a refusedChange of a certain action.
type refusedError struct {
	*refusedChange
	action int
	in     *waybill.Change
}

func (e *refusedError) Error() string { return e.reason }

// attempt runs one transaction. Unless it returns nil, nothing of it is left; a lostError
// leaves that open. Late is the failure of an action whose constraints are to be checked early.
func (w *Writer) attempt(ctx context.Context, b waybill.Batch, single bool, late *stepError) (err error) {
	t := &applyTx{w: w, ctx: ctx, sent: w.steps[:0], late: late}
	defer func() {
		w.steps = t.sent[:0]
		if err != nil {
			t.abort()
		}
	}()
	w.plan.reset()
	w.defs.begin()
	w.plan.single = single
	if fault.Broken(fault.PositionFirst) {
		if err := t.begin(); err != nil {
			return err
		}
		t.position(b)
		t.again()
	}
	for i := range b.Actions {
		if err := t.addAction(&b.Actions[i], i); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	t.unchanged()
	if w.schema.lenient {
		if err := t.drain(); err != nil { // the position takes what was counted
			return err
		}
	}
	if !fault.Broken(fault.PositionFirst) {
		if fault.Broken(fault.PositionApart) {
			t.again()
		}
		t.position(b)
	}
	if err := t.pass(fault.WritePosition); err != nil {
		return err
	}
	t.commit()
	if err := t.drain(); err != nil {
		return err
	}
	w.noteForeign(&t.foreign)
	return nil
}

// addAction plans the action's changes and sends what the plan cannot hold.
func (t *applyTx) addAction(a *waybill.Action, index int) error {
	plan := t.w.plan
	from := len(plan.groups)
	if list, ok := a.Changes.(waybill.ChangeList); ok { // the usual case, without an iterator's allocations
		for i := range list {
			if err := t.addChange(&list[i], index, &from); err != nil {
				return err
			}
		}
	} else if a.Changes != nil {
		for c, err := range a.Changes.All() {
			if err != nil {
				return fmt.Errorf("read the changes of action %s again: %w", a.ID, err)
			}
			if err := t.addChange(plan.keep(c), index, &from); err != nil {
				return err
			}
		}
	}
	if plan.single {
		plan.arrange(from)
		if plan.deferrable {
			return t.checkAction(index)
		}
	}
	return nil
}

// addChange plans one change, which must stay as it is until the plan is reset; from is the first group
// of its action in the plan.
func (t *applyTx) addChange(c *waybill.Change, action int, from *int) error {
	var refused *refusedChange
	plan := t.w.plan
	if shape := plan.alike(c); shape != nil {
		refused = plan.addShaped(c, shape, action)
	} else {
		var err error
		if refused, err = t.addOther(c, action); err != nil {
			return err
		}
	}
	if refused != nil {
		return &refusedError{refusedChange: refused, action: action, in: c}
	}
	if !plan.full() {
		return nil
	}
	*from = 0
	if err := t.flush(); err != nil {
		return err
	}
	if t.pipe != nil {
		t.behind = true
		_ = t.pipe.Flush() // a broken connection shows when the answers are waited for
	}
	return nil
}

// addOther plans a change that is not like the one before.
func (t *applyTx) addOther(c *waybill.Change, action int) (_ *refusedChange, err error) {
	plan := t.w.plan
	table := plan.schema.tables[c.Entity]
	if table == nil {
		if table, err = t.load(c.Entity); err != nil {
			return nil, err
		}
	}
	if table == nil {
		return unknownTable(plan.schema, c.Entity), nil
	}
	if c.Schema != nil {
		if err := t.w.agree(c, table); err != nil {
			return nil, err
		}
	}
	return plan.add(c, table, action), nil
}

// load reads a table's definition; before that, answers are waited for.
func (t *applyTx) load(entity string) (*targetTable, error) {
	if err := t.drain(); err != nil {
		return nil, err
	}
	return t.w.schema.load(t.ctx, t.w.link.conn, entity)
}

// checkAction has the server check the constraints that wait for the commit at the end of each
// action, so that the action at fault is known.
func (t *applyTx) checkAction(index int) error {
	if err := t.flush(); err != nil || !t.begun {
		return err
	}
	t.control("SET CONSTRAINTS ALL IMMEDIATE", sentStep{what: stepConstraints, action: index})
	t.control("SET CONSTRAINTS ALL DEFERRED", sentStep{})
	return nil
}

// flush sends what is planned.
func (t *applyTx) flush() error {
	plan := t.w.plan
	if t.behind { // one plan ahead of the server is enough
		if err := t.drain(); err != nil {
			return err
		}
	}
	if err := t.begin(); err != nil {
		return err
	}
	if plan.deferrable && !t.relaxed {
		t.relaxed = true
		t.control("SET CONSTRAINTS ALL DEFERRED", sentStep{})
	}
	if !plan.single {
		plan.arrange(0)
	}
	for i, g := range plan.groups {
		t.wrote(g.kind.table)
		t.replan(g)
		if err := t.sendGroup(g); err != nil {
			return err
		}
		if t.pipe != nil && i+1 < len(plan.groups) && len(g.items) >= headStart {
			_ = t.pipe.Flush() // a broken connection shows when the answers are waited for
		}
		t.data++
		if t.data == 1 {
			if err := t.pass(fault.WriteData); err != nil {
				return err
			}
			if fault.Broken(fault.SplitAction) {
				t.again()
			}
		}
	}
	plan.reset()
	return nil
}

// sendGroup encodes a group and sends its statements.
func (t *applyTx) sendGroup(g *changeGroup) error {
	if len(g.items) >= copyRows && !t.w.plan.single && g.kind.mayCopy() {
		if done, err := t.copyGroup(g); done {
			return err
		}
	}
	columns := g.kind.columns()
	asText, params, marks := make([]byte, len(columns)), make([][]byte, len(columns)), make([]int, len(columns)+1)
	buf := t.w.arrays[:0]
	for i, n := range columns {
		col := &g.kind.table.columns[n]
		asText[i] = t.w.plan.travel(g, col, i)
		for {
			var ok bool
			var refused *refusedChange
			buf, ok, refused = appendArray(buf, col, asText[i] == 1, t.w.plan, g, i)
			if refused != nil {
				return &refusedError{refusedChange: refused, action: refused.change.action, in: refused.change.Change}
			}
			if ok {
				break
			}
			asText[i] = 1
		}
		marks[i+1] = len(buf)
	}
	for i := range columns {
		params[i] = buf[marks[i]:marks[i+1]]
	}
	if cap(buf) <= maxArrays {
		t.w.arrays = buf
	}
	first := &t.w.plan.changes[g.items[0]]
	step := sentStep{what: stepData, kind: g.kind, action: first.action}
	if t.w.plan.single {
		change := *first.Change
		step.change = &change
	}
	for _, s := range g.kind.statementsFor(asText) {
		step.counts = s.counts
		t.query(s.sql, s.oids, params, step)
	}
	step.counts = false
	if t.late != nil && t.late.step.action == step.action {
		step.what = stepConstraints
		t.control("SET CONSTRAINTS ALL IMMEDIATE", step)
		t.control("SET CONSTRAINTS ALL DEFERRED", sentStep{})
	}
	return nil
}
