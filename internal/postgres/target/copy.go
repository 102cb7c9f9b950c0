package target

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
)

// copyRows is from how many rows on inserts go by COPY. It takes a round trip of its own;
// with fewer rows INSERT takes the server less.
const copyRows = groupChanges

// copyHead begins COPY's binary format; no flags, no extension.
const copyHead = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// mayCopy tells whether COPY does what INSERT would: it knows no rules, no policies and no views.
func (k *groupKind) mayCopy() bool {
	return k.op == waybill.Insert && !k.table.barrier && k.table.guards == rowGuards{} && (k.table.kind == "r" || k.table.kind == "p")
}

// copyFlight is a COPY that a goroutine of its own sends, so that the next group is read and encoded
// while the server works. Until it has landed nothing else may use the connection.
type copyFlight struct {
	done chan struct{}
	rows []byte
	err  error // valid once done is closed
	step sentStep
}

// copyGroup sends the group by COPY and does not wait for the answer. Not done: some value has no
// binary form, and nothing was sent.
func (t *applyTx) copyGroup(g *changeGroup) (done bool, err error) {
	buf, ok := t.appendRows(append(t.w.arrays[:0], copyHead...), g)
	if !ok {
		return false, nil
	}
	if err := t.drain(); err != nil {
		return true, err
	}
	sql := g.kind.copySQL()
	if t.unsent {
		t.unsent, sql = false, beginSQL+"; "+sql
	}
	f := &copyFlight{
		done: make(chan struct{}), rows: buf,
		step: sentStep{what: stepData, kind: g.kind, action: t.w.plan.changes[g.items[0]].action},
	}
	t.flight, t.w.arrays, t.w.spare = f, t.w.spare, nil
	conn := t.w.link.conn.PgConn()
	go func() {
		defer close(f.done)
		_, f.err = conn.CopyFrom(t.ctx, bytes.NewReader(f.rows), sql)
	}()
	return true, nil
}

// land waits for the COPY that is under way; its failure is kept for drain.
func (t *applyTx) land() {
	f := t.flight
	if f == nil {
		return
	}
	<-f.done
	t.flight = nil
	if cap(f.rows) <= maxArrays {
		t.w.spare = f.rows
	}
	var pe *pgconn.PgError
	switch {
	case f.err == nil || t.failed != nil:
	case !errors.As(f.err, &pe) || t.w.link.broken():
		t.failed = &lostError{f.err}
	default:
		t.failed = &stepError{pg: pe, step: f.step}
	}
}

// appendRows appends the group in COPY's binary format; not ok if some value has none.
func (t *applyTx) appendRows(buf []byte, g *changeGroup) (_ []byte, ok bool) {
	columns := g.kind.columns()
	forms := make([]knownForm, len(columns))
	for _, item := range g.items {
		c := &t.w.plan.changes[item]
		sources := c.sources()
		buf = append(buf, byte(len(columns)>>8), byte(len(columns)))
		for i, n := range columns {
			v := c.value(sources[i])
			if v.IsNull() {
				buf = append(buf, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			col := &g.kind.table.columns[n]
			if forms[i].asItIs(v, col, (*targetColumn).ownForm) {
				buf = append(appendLength(buf, len(v.Raw)), v.Raw...)
				continue
			}
			start := len(buf)
			buf = append(buf, 0, 0, 0, 0)
			if buf, ok = appendField(buf, col, v); !ok {
				return buf, false
			}
			putLength(buf[start:], len(buf)-start-4)
		}
	}
	return append(buf, 0xff, 0xff), true
}

func (k *groupKind) copySQL() string {
	if k.copy == "" {
		b := statementBuilder{groupKind: k}
		k.copy = fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", k.table.ident(), b.names(k.set))
	}
	return k.copy
}

// appendField appends the form of a value that the column's type receives; not ok if it has none.
func appendField(dst []byte, col *targetColumn, v waybill.Value) ([]byte, bool) {
	if isText(col.base) {
		dst, refused := appendTextValue(dst, col, v)
		return dst, refused == nil // the other way tells why
	}
	if col.wire(false) == wireText {
		return dst, false
	}
	return appendBinaryValue(dst, col, v)
}
