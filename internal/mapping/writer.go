package mapping

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"

	waybill "github.com/waybill-data/waybill"
)

// Writer decorates w by what happens after a queue: children, set, columns, to. Its facets are w's.
func (m *Mapping) Writer(w waybill.Writer) waybill.Writer {
	if len(m.rules) == 0 {
		return w
	}
	h := &after{mapping: m}
	for _, r := range m.rules {
		h.splits = h.splits || len(r.Children) > 0
	}
	return &writer{Writer: w, half: h}
}

type writer struct {
	waybill.Writer
	half *after
}

// Unwrap is for waybill.As.
func (w *writer) Unwrap() any { return w.Writer }

// Write is waybill.Writer's.
func (w *writer) Write(ctx context.Context, b waybill.Batch) error {
	b.Actions = slices.Clone(b.Actions)
	for i := range b.Actions {
		if err := mapAction(w.half, &b.Actions[i]); err != nil {
			return err
		}
	}
	return w.Writer.Write(ctx, b)
}

// after is the half after the queue.
type after struct {
	mapping *Mapping
	splits  bool // some rule has children
	schemas schemaCache
}

func (h *after) counts() bool { return h.splits }

func (h *after) apply(c *waybill.Change, yield func(*waybill.Change) bool) error {
	schema, err := h.schemas.get(c.Schema, h.mapping.mapSchema)
	if err != nil {
		return err
	}
	out := *c
	out.Schema = schema
	r := h.mapping.rules[c.Entity]
	if r == nil {
		yield(&out)
		return nil
	}
	var first, then []waybill.Change
	for i := range r.Children {
		gone, there, err := r.split(&r.Children[i], c)
		if err != nil {
			return err
		}
		first, then = append(first, gone...), append(then, there...)
	}
	out.Entity = r.to
	if out.Key, err = r.mapKey(c.Key); err == nil {
		out.Row, err = r.mapRow(c.Row)
	}
	if err == nil {
		out.Before, err = r.mapRow(c.Before)
	}
	if err == nil && c.Op != waybill.Delete && c.Op != waybill.Truncate {
		out.Row, err = r.compute(c, out.Row)
	}
	if err != nil {
		return err
	}
	for i := range first {
		if !yield(&first[i]) {
			return nil
		}
	}
	if !yield(&out) {
		return nil
	}
	for i := range then {
		if !yield(&then[i]) {
			return nil
		}
	}
	return nil
}

func (r *rule) mapKey(key waybill.Row) (waybill.Row, error) {
	for i := range key {
		if r.lists[key[i].Name] {
			return nil, &ruleError{fmt.Sprintf("column %s is part of the key, and children takes it away", key[i].Name)}
		}
		if name := r.named(key[i].Name); r.isSet[name] {
			return nil, &ruleError{fmt.Sprintf("column %s is part of the key, which set cannot change", name)}
		}
	}
	if len(r.rename) == 0 {
		return key, nil
	}
	return r.mapRow(key)
}

// mapRow renames, and leaves out what set and children give otherwise.
func (r *rule) mapRow(row waybill.Row) (waybill.Row, error) {
	if len(row) == 0 || len(r.rename)+len(r.isSet)+len(r.lists) == 0 {
		return row, nil
	}
	out := make(waybill.Row, 0, len(row)+len(r.set))
	for i := range row {
		name := row[i].Name
		if r.lists[name] {
			continue
		}
		to := r.rename[name]
		if to == "" {
			if to = name; r.renamed[name] {
				return nil, r.twice(name)
			}
		}
		if !r.isSet[to] {
			out = append(out, waybill.Column{Name: to, Value: row[i].Value})
		}
	}
	return out, nil
}

func (r *rule) twice(name string) error {
	return &ruleError{fmt.Sprintf("columns gives a column the name %s, and the source has another one of that name; rename or drop that one", name)}
}

// compute appends what set computes.
func (r *rule) compute(c *waybill.Change, row waybill.Row) (waybill.Row, error) {
	if len(r.set) == 0 {
		return row, nil
	}
	below := c.Before
	if c.Op != waybill.Update {
		below = nil
	}
	row = slices.Clip(row)
	for i := range r.set {
		v := rowValue{layers: [3]waybill.Row{c.Row, below, c.Key}, schema: c.Schema, types: r.Types, strict: c.Op != waybill.Insert}
		value, err := r.set[i].value(&v)
		var lack *lackingError
		switch {
		case errors.As(err, &lack) && c.Op != waybill.Insert:
			continue // a column that is absent is unchanged
		case errors.As(err, &lack):
			return nil, &partialError{fmt.Sprintf("set.%s needs column %s, which the change leaves out", r.set[i].name, lack.column), wholeRows(c)}
		case err != nil:
			return nil, fmt.Errorf("set.%s: %w", r.set[i].name, err)
		}
		row = append(row, waybill.Column{Name: r.set[i].name, Value: value})
	}
	return row, nil
}

// value computes the column; one that only copies another keeps its form.
func (s *setColumn) value(v *rowValue) (waybill.Value, error) {
	if s.column != "" {
		if value, ok := v.column(s.column); ok {
			return value, nil
		}
		return waybill.Value{}, &lackingError{s.column}
	}
	out, err := s.eval(v)
	if err != nil {
		return waybill.Value{}, err
	}
	return asValue(out)
}

// mapSchema is the schema of rows that were mapped, the same one where nothing changes.
func (m *Mapping) mapSchema(s *waybill.Schema) (*waybill.Schema, error) {
	r := m.rules[s.Entity]
	out := *s
	out.Foreign = m.mapForeign(r, s.Foreign)
	if r == nil {
		if len(s.Foreign) == 0 || !slices.ContainsFunc(s.Foreign, func(f waybill.ForeignKey) bool { return m.rules[f.Entity] != nil }) {
			return s, nil
		}
		return &out, nil
	}
	out.Entity, out.Columns = r.to, nil
	for _, c := range s.Columns {
		if r.lists[c.Name] {
			continue
		}
		if r.rename[c.Name] == "" && r.renamed[c.Name] {
			return nil, r.twice(c.Name)
		}
		c.Name = r.named(c.Name)
		c.NotNull = c.NotNull && !r.isSet[c.Name]
		out.Columns = append(out.Columns, c)
	}
	for i := range r.set {
		if typeOf(&out, r.set[i].name) == nil {
			out.Columns = append(out.Columns, r.setType(&r.set[i], s))
		}
	}
	out.Key = r.names(s.Key)
	out.Unique = nil
	for _, u := range s.Unique {
		if r.same(u) {
			out.Unique = append(out.Unique, r.names(u))
		}
	}
	return &out, nil
}

// setType is the column that set adds, of the type that types or the expression tells.
func (r *rule) setType(s *setColumn, of *waybill.Schema) waybill.SchemaColumn {
	if s.column != "" {
		if c := typeOf(of, s.column); c != nil {
			copied := *c
			copied.Name, copied.NotNull = s.name, false
			return copied
		}
	}
	name := r.Types[s.name]
	switch {
	case name != "":
	case s.result.IsExactType(cel.IntType):
		name = "bigint"
	case s.result.IsExactType(cel.BoolType):
		name = "boolean"
	case s.result.IsExactType(cel.DoubleType):
		name = "double precision"
	case s.result.IsExactType(decimalType):
		name = "numeric"
	default:
		name = "text"
	}
	return waybill.SchemaColumn{Name: s.name, Type: name}
}

// mapForeign maps foreign keys; those over columns that are computed or taken go. r may be nil.
func (m *Mapping) mapForeign(r *rule, keys []waybill.ForeignKey) []waybill.ForeignKey {
	var out []waybill.ForeignKey
	for _, f := range keys {
		to := m.rules[f.Entity]
		if r != nil && !r.same(f.Columns) || to != nil && !to.same(f.References) {
			continue
		}
		if r != nil {
			f.Columns = r.names(f.Columns)
		}
		if to != nil {
			f.Entity, f.References = to.to, to.names(f.References)
		}
		out = append(out, f)
	}
	return out
}

// same tells whether columns hold at the target what they hold at the source.
func (r *rule) same(columns []string) bool {
	return !slices.ContainsFunc(columns, func(c string) bool { return r.lists[c] || r.isSet[r.named(c)] })
}

func (r *rule) names(columns []string) []string {
	if columns == nil {
		return nil
	}
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = r.named(c)
	}
	return out
}
