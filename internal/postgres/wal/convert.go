package wal

import (
	"fmt"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
)

const (
	chunkSize   = 256 << 10
	columnChunk = 1024
)

// arena is memory for rows, taken in large pieces that are never written again. A piece lives as
// long as a row that is in it.
type arena struct {
	bytes   []byte
	columns []waybill.Column
}

func (a *arena) keep(b []byte) []byte {
	if cap(a.bytes)-len(a.bytes) < len(b) {
		a.bytes = make([]byte, 0, max(chunkSize, len(b)))
	}
	start := len(a.bytes)
	a.bytes = append(a.bytes, b...)
	return a.bytes[start:len(a.bytes):len(a.bytes)]
}

// row is an empty row with room for n columns.
func (a *arena) row(n int) waybill.Row {
	if cap(a.columns)-len(a.columns) < n {
		a.columns = make([]waybill.Column, 0, max(columnChunk, n))
	}
	start := len(a.columns)
	a.columns = a.columns[:start+n]
	return a.columns[start : start : start+n]
}

// relation is one version of a table as the log describes it.
type relation struct {
	message pgoutput.Relation // its columns are the relation's own
	schema  *waybill.Schema
	text    []*pgvalue.Encoding
	binary  []*pgvalue.Encoding
	key     []int // columns of the key; empty: all that are not null
	outbox  *outboxColumns
	foreign bool // a table that is not asked for
	partial bool // an old row may hold the key alone, though the identity is full
	seen    bool // described in a transaction that the target has
}

// change makes a change of a decoded one.
func (r *relation) change(a *arena, op waybill.Op, oldKind byte, old, fresh []pgoutput.Datum) (waybill.Change, error) {
	c := waybill.Change{Entity: r.schema.Entity, Op: op, Schema: r.schema}
	n := len(r.message.Columns)
	if op == waybill.Truncate {
		return c, nil
	}
	if fresh != nil {
		if len(fresh) != n {
			return c, fmt.Errorf("a row of %s has %d columns, %d were announced", c.Entity, len(fresh), n)
		}
		c.Row = r.row(a, fresh)
	}
	if old != nil {
		if len(old) != n {
			return c, fmt.Errorf("an old row of %s has %d columns, %d were announced", c.Entity, len(old), n)
		}
		switch {
		case oldKind != 'O':
			c.Key = r.keyOf(a, old)
		case r.partial:
			c.Key = r.pick(a, r.row(a, old))
		default:
			c.Before = r.row(a, old)
		}
	}
	if c.Key == nil {
		from := c.Row
		if c.Before != nil {
			from = c.Before
		}
		c.Key = r.pick(a, from)
	}
	if len(c.Key) == 0 {
		return c, fmt.Errorf("a change of %s has no column that could be its key; leave the table out of tables in the configuration", c.Entity)
	}
	return c, nil
}

func (r *relation) row(a *arena, tuple []pgoutput.Datum) waybill.Row {
	row := a.row(len(tuple))
	for i := range tuple {
		switch tuple[i].Kind {
		case 'u':
		case 'n':
			row = append(row, waybill.Column{Name: r.message.Columns[i].Name})
		default:
			row = append(row, waybill.Column{Name: r.message.Columns[i].Name, Value: r.value(a, i, tuple[i])})
		}
	}
	return row
}

func (r *relation) value(a *arena, i int, d pgoutput.Datum) waybill.Value {
	e := r.text[i]
	if d.Kind == 'b' {
		e = r.binary[i]
	}
	return waybill.Value{Form: waybill.Native, Raw: a.keep(d.Data), Encoding: e}
}

// keyOf makes the key of an old key.
func (r *relation) keyOf(a *arena, tuple []pgoutput.Datum) waybill.Row {
	key := a.row(len(r.key))
	for _, i := range r.key {
		if tuple[i].Kind == 't' || tuple[i].Kind == 'b' {
			key = append(key, waybill.Column{Name: r.message.Columns[i].Name, Value: r.value(a, i, tuple[i])})
		}
	}
	return key
}

// pick takes the key out of a row; without key columns that is all that is not null, or all where
// nothing is.
func (r *relation) pick(a *arena, row waybill.Row) waybill.Row {
	if len(r.key) == 0 {
		key := a.row(len(row))
		for i := range row {
			if !row[i].Value.IsNull() {
				key = append(key, row[i])
			}
		}
		if len(key) == 0 { // a row of nulls
			return row
		}
		return key
	}
	key := a.row(len(r.key))
	for _, i := range r.key {
		name := r.message.Columns[i].Name
		if i < len(row) && row[i].Name == name { // nothing before it was left out
			key = append(key, row[i])
		} else if v, ok := row.Get(name); ok {
			key = append(key, waybill.Column{Name: name, Value: v})
		}
	}
	return key
}
