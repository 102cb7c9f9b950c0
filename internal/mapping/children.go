package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// childRow is an object of a list, as a row of its own.
type childRow struct {
	key, row waybill.Row
}

// split tells what becomes of a child's rows with a change of their parent: what goes, before the
// parent's change, and what is there, after it. Where the list that was there before is known, the rows that
// vanished from it go; else all rows of the parent do.
func (r *rule) split(child *Child, c *waybill.Change) (gone, there []waybill.Change, err error) {
	if c.Op == waybill.Truncate {
		return []waybill.Change{{Entity: child.To, Op: waybill.Truncate}}, nil, nil
	}
	if c.Op == waybill.Delete {
		gone, err = child.clear(c)
		return gone, nil, err
	}
	list, carried := c.Row.Get(child.Field)
	old, known := c.Before.Get(child.Field)
	moves := c.Op == waybill.Update && parentMoves(child, c)
	switch {
	case !carried && !moves:
		return nil, nil, nil // unchanged
	case !carried && !known:
		return nil, nil, &partialError{
			fmt.Sprintf("which rows of %s move with it cannot be told, because the change does not say what the list %s holds", child.To, child.Field),
			wholeRows(c),
		}
	case !carried:
		list = old
	}
	below := c.Before
	if c.Op != waybill.Update {
		below = nil
	}
	now, err := child.rows(list, c.Row, below, c.Key)
	if err != nil {
		return nil, nil, err
	}
	keep := make(map[string]bool, len(now))
	for i := range now {
		k := now[i].key.String()
		if keep[k] {
			return nil, nil, fmt.Errorf("the list %s holds two objects with the same key", child.Field)
		}
		keep[k] = true
		there = append(there, waybill.Change{Entity: child.To, Op: waybill.Upsert, Key: now[i].key, Row: now[i].row})
	}
	switch {
	case c.Op == waybill.Insert:
	case known && !moves:
		gone, err = child.vanished(c, old, keep)
	default:
		gone, err = child.clear(c)
	}
	return gone, there, err
}

// vanished are deletes of the rows of the former list that are not to be kept.
func (child *Child) vanished(c *waybill.Change, old waybill.Value, keep map[string]bool) (gone []waybill.Change, err error) {
	was, err := child.rows(old, c.Before, c.Key)
	for i := range was {
		if !keep[was[i].key.String()] {
			gone = append(gone, waybill.Change{Entity: child.To, Op: waybill.Delete, Key: was[i].key})
		}
	}
	return gone, err
}

// clear removes the rows of the parent as it was before the change.
func (child *Child) clear(c *waybill.Change) ([]waybill.Change, error) {
	key := make(waybill.Row, 0, len(child.Parent))
	for _, p := range child.Parent {
		was, ok := c.Before.Get(p.From)
		if !ok {
			was, ok = c.Key.Get(p.From)
		}
		switch {
		case !ok:
			return nil, &partialError{
				fmt.Sprintf("which rows of %s go cannot be told, because the change does not say what column %s held before", child.To, p.From),
				"have parent name columns of the key, or " + wholeRows(c),
			}
		case was.IsNull(): // no row has such a parent
			return nil, nil
		}
		key = append(key, waybill.Column{Name: p.To, Value: was})
	}
	return []waybill.Change{{Entity: child.To, Op: waybill.Truncate, Key: key}}, nil
}

// parentMoves tells whether an update gives the parent other values in the columns that its
// children carry, or may do.
func parentMoves(child *Child, c *waybill.Change) bool {
	for _, p := range child.Parent {
		now, ok := c.Row.Get(p.From)
		if !ok {
			continue
		}
		was, ok := c.Before.Get(p.From)
		if !ok {
			if was, ok = c.Key.Get(p.From); !ok {
				return true
			}
		}
		if !sameValue(now, was) {
			return true
		}
	}
	return false
}

func sameValue(a, b waybill.Value) bool { return a.Form == b.Form && bytes.Equal(a.Raw, b.Raw) }

// rows are those of a list whose parent is the layers, the first that has a column deciding.
func (child *Child) rows(list waybill.Value, layers ...waybill.Row) ([]childRow, error) {
	if list.IsNull() {
		return nil, nil
	}
	value, err := list.AsJSON()
	if err != nil {
		return nil, fmt.Errorf("read the list %s: %w", child.Field, err)
	}
	if envelope.KindOf(bytes.TrimSpace(value.Raw)) != envelope.Array {
		return nil, fmt.Errorf("column %s is no list", child.Field)
	}
	var objects []json.RawMessage
	if err := json.Unmarshal(value.Raw, &objects); err != nil {
		return nil, fmt.Errorf("column %s is no JSON list", child.Field)
	}
	if len(objects) == 0 {
		return nil, nil
	}
	parent, err := child.parent(layers)
	if err != nil {
		return nil, err
	}
	out := make([]childRow, len(objects))
	for i, object := range objects {
		if out[i], err = child.row(object, parent); err != nil {
			return nil, fmt.Errorf("object %d of the list %s: %w", i+1, child.Field, err)
		}
	}
	return out, nil
}

// parent are the columns that each row has of its parent.
func (child *Child) parent(layers []waybill.Row) (waybill.Row, error) {
	var out waybill.Row
	v := rowValue{}
	copy(v.layers[:], layers)
	for _, p := range child.Parent {
		value, ok := v.column(p.From)
		if !ok {
			return nil, &partialError{
				fmt.Sprintf("children.%s needs column %s, which the change leaves out", child.Field, p.From),
				"write it with each change, and in before",
			}
		}
		if value.IsNull() {
			return nil, fmt.Errorf("column %s is null, so that nothing tells whose the rows of the list %s are", p.From, child.Field)
		}
		out = append(out, waybill.Column{Name: p.To, Value: value})
	}
	return out, nil
}

func (child *Child) row(object []byte, parent waybill.Row) (c childRow, err error) {
	members, err := envelope.ReadMembers(object)
	if err != nil {
		return c, err
	}
	c.row = slices.Clip(parent)
	for members.More() {
		name, err := members.Name()
		if err != nil {
			return c, err
		}
		raw, err := members.Value()
		if err != nil {
			return c, err
		}
		value := waybill.Value{Form: waybill.JSON, Raw: raw}
		if string(raw) == "null" {
			value = waybill.Value{}
		}
		if given, twice := c.row.Get(string(name)); twice {
			if _, parents := parent.Get(string(name)); parents && given.String() == value.String() {
				continue
			}
			return c, fmt.Errorf("it gives %s twice, or otherwise than its parent", name)
		}
		c.row = append(c.row, waybill.Column{Name: string(name), Value: value})
	}
	for _, k := range child.Key {
		value, ok := c.row.Get(k)
		if !ok || value.IsNull() {
			return c, fmt.Errorf("it lacks %s, which is part of the key", k)
		}
		c.key = append(c.key, waybill.Column{Name: k, Value: value})
	}
	return c, nil
}
