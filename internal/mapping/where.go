package mapping

import (
	"errors"
	"fmt"

	waybill "github.com/waybill-data/waybill"
)

// verdict is what where says of one state of a row.
type verdict uint8

const (
	unknown verdict = iota
	matches
	fails
)

// filter decides what where leaves of a change that is no truncate.
func (r *rule) filter(c *waybill.Change) ([]waybill.Change, error) {
	was := unknown
	if c.Op != waybill.Insert && c.Before != nil {
		var err error
		if was, err = r.judge(c, c.Before, c.Key, nil); err != nil {
			if !isLacking(err) {
				return nil, err
			}
			was = unknown // the application told part of it only
		}
	}
	if c.Op == waybill.Delete {
		return keepIf(was != fails, *c), nil
	}
	below := c.Before
	if c.Op != waybill.Update {
		below = nil // the row of an insert or upsert says all that it means
	}
	now, err := r.judge(c, c.Row, below, c.Key)
	if err != nil {
		if lack, ok := errors.AsType[*lackingError](err); ok {
			return nil, &partialError{fmt.Sprintf("where needs column %s, which the change leaves out", lack.column), wholeRows(c)}
		}
		return nil, err
	}
	if c.Op == waybill.Insert {
		return keepIf(now == matches, *c), nil
	}
	switch {
	case now == fails && was == fails:
		return nil, nil
	case now == fails:
		return []waybill.Change{{Entity: c.Entity, Op: waybill.Delete, Key: c.Key, Before: c.Before, Schema: c.Schema}}, nil
	case c.Op == waybill.Upsert || was == matches:
		return []waybill.Change{*c}, nil
	}
	return r.enter(c, was)
}

func keepIf(keep bool, c waybill.Change) []waybill.Change {
	if keep {
		return []waybill.Change{c}
	}
	return nil
}

// judge evaluates where on a row, the first of the layers that has a column deciding.
func (r *rule) judge(c *waybill.Change, layers ...waybill.Row) (verdict, error) {
	v := rowValue{schema: c.Schema, types: r.Types}
	copy(v.layers[:], layers)
	ok, err := r.where.condition(&v)
	switch {
	case err != nil:
		return unknown, fmt.Errorf("where: %w", err)
	case ok:
		return matches, nil
	}
	return fails, nil
}

func isLacking(err error) bool {
	_, ok := errors.AsType[*lackingError](err)
	return ok
}

// enter is an update of a row that the target may not have: an upsert of the whole row, after the
// delete of its old key where that changed and the old row may be there.
func (r *rule) enter(c *waybill.Change, was verdict) ([]waybill.Change, error) {
	up := *c
	up.Op, up.Row = waybill.Upsert, overlay(c.Row, c.Before)
	up.Key = make(waybill.Row, len(c.Key))
	moved := false
	for i, k := range c.Key {
		if v, ok := c.Row.Get(k.Name); ok {
			moved = moved || v.Form != k.Value.Form || string(v.Raw) != string(k.Value.Raw)
			k.Value = v
		}
		up.Key[i] = k
	}
	up.Row = overlay(up.Row, up.Key)
	if c.Schema != nil {
		for i := range c.Schema.Columns {
			name := c.Schema.Columns[i].Name
			if _, ok := up.Row.Get(name); !ok && r.passes(name) {
				return nil, &partialError{
					fmt.Sprintf("the row may be new to the target, and the change leaves column %s out", name), wholeRows(c),
				}
			}
		}
	}
	if moved && was != fails {
		del := waybill.Change{Entity: c.Entity, Op: waybill.Delete, Key: c.Key, Before: c.Before, Schema: c.Schema}
		up.Before = nil // of a row that is gone
		return []waybill.Change{del, up}, nil
	}
	if was == fails {
		up.Before = nil // it was not at the target
	}
	return []waybill.Change{up}, nil
}
