package mapping

import (
	"context"
	"fmt"
	"slices"

	waybill "github.com/waybill-data/waybill"
)

// Reader decorates r by what happens before a queue: where, only, drop. Its facets are r's.
func (m *Mapping) Reader(r waybill.Reader) waybill.Reader {
	if !m.filters() {
		return r
	}
	return &reader{Reader: r, half: &before{mapping: m}}
}

type reader struct {
	waybill.Reader
	half    *before
	pending error // of the action after those that were handed on
}

// Unwrap is for waybill.As.
func (r *reader) Unwrap() any { return r.Reader }

// Open is waybill.Reader's.
func (r *reader) Open(ctx context.Context, after waybill.Position) error {
	r.pending = nil
	return r.Reader.Open(ctx, after)
}

// Next is waybill.Reader's.
func (r *reader) Next(ctx context.Context) (waybill.Batch, error) {
	if r.pending != nil {
		return waybill.Batch{}, r.pending
	}
	b, err := r.Reader.Next(ctx)
	if err != nil || len(b.Actions) == 0 {
		return b, err
	}
	b.Actions = slices.Clone(b.Actions)
	for i := range b.Actions {
		if err := mapAction(r.half, &b.Actions[i]); err != nil {
			if i == 0 || b.At == nil || waybill.Transient(err) {
				return waybill.Batch{}, err
			}
			head, _, _ := b.Cut(i)
			r.pending = err
			return head, nil
		}
	}
	return b, nil
}

// before is the half before the queue.
type before struct {
	mapping *Mapping
	schemas schemaCache
}

func (h *before) counts() bool {
	for _, r := range h.mapping.rules {
		if r.where != nil {
			return true
		}
	}
	return false
}

// filters tells whether any rule shrinks or filters: foreign keys of other entities are concerned.
func (m *Mapping) filters() bool {
	for _, r := range m.rules {
		if r.where != nil || r.shrinks() {
			return true
		}
	}
	return false
}

func (h *before) apply(c *waybill.Change, yield func(*waybill.Change) bool) error {
	r := h.mapping.rules[c.Entity]
	if r == nil {
		return h.finish(nil, *c, yield)
	}
	if r.where == nil || c.Op == waybill.Truncate {
		return h.finish(r, *c, yield)
	}
	kept, err := r.filter(c)
	if err != nil {
		return err
	}
	for i := range kept {
		if err := h.finish(r, kept[i], yield); err != nil {
			return err
		}
	}
	return nil
}

// finish leaves columns out and maps the schema. r may be nil.
func (h *before) finish(r *rule, c waybill.Change, yield func(*waybill.Change) bool) (err error) {
	if r != nil && r.shrinks() {
		for i := range c.Key {
			if !r.passes(c.Key[i].Name) {
				return keyLeftOut(c.Entity, c.Key[i].Name)
			}
		}
		c.Row, c.Before = r.shrink(c.Row), r.shrink(c.Before)
	}
	if c.Schema, err = h.schemas.get(c.Schema, h.mapping.shrinkSchema); err != nil {
		return err
	}
	yield(&c)
	return nil
}

func keyLeftOut(entity, column string) error {
	return &ruleError{fmt.Sprintf("column %s is part of the key of %s and has to pass; take it out of drop, or put it into only", column, entity)}
}

func (r *rule) shrink(row waybill.Row) waybill.Row {
	if row == nil {
		return nil
	}
	out := make(waybill.Row, 0, len(row))
	for i := range row {
		if r.passes(row[i].Name) {
			out = append(out, row[i])
		}
	}
	return out
}

// shrinkSchema is the schema of rows that were shrunk, the same one where nothing goes.
func (m *Mapping) shrinkSchema(s *waybill.Schema) (*waybill.Schema, error) {
	r := m.rules[s.Entity]
	passes := func(r *rule, columns []string) bool {
		return r == nil || !slices.ContainsFunc(columns, func(c string) bool { return !r.passes(c) })
	}
	out := *s
	out.Foreign = slices.DeleteFunc(slices.Clone(s.Foreign), func(f waybill.ForeignKey) bool {
		to := m.rules[f.Entity]
		return !passes(r, f.Columns) || !passes(to, f.References) || to != nil && to.where != nil
	})
	if r == nil || !r.shrinks() {
		if len(out.Foreign) == len(s.Foreign) {
			return s, nil
		}
		return &out, nil
	}
	for _, k := range s.Key {
		if !r.passes(k) {
			return nil, keyLeftOut(s.Entity, k)
		}
	}
	out.Columns = slices.DeleteFunc(slices.Clone(s.Columns), func(c waybill.SchemaColumn) bool { return !r.passes(c.Name) })
	out.Unique = slices.DeleteFunc(slices.Clone(s.Unique), func(u []string) bool { return !passes(r, u) })
	return &out, nil
}
