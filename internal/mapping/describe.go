package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	waybill "github.com/waybill-data/waybill"
)

// Describe is what the table of a change that was mapped and has no schema is to be like, by the types
// that the rules give: the change's columns first, those of its key as the primary key. Untyped, if
// not empty, says that some column of the change has no type, and where to give it. A nil m knows no
// type.
func (m *Mapping) Describe(c *waybill.Change) (s *waybill.Schema, untyped string) {
	var key []string
	for i := range c.Key {
		key = append(key, c.Key[i].Name)
	}
	d := description{entity: c.Entity, key: key, types: map[string]string{}}
	if m != nil && m.target[c.Entity] != nil {
		m.target[c.Entity].describe(&d, c.Entity)
	}
	s = &waybill.Schema{Entity: c.Entity, System: "postgres", Key: d.key}
	add := func(name string) {
		if slices.ContainsFunc(s.Columns, func(col waybill.SchemaColumn) bool { return col.Name == name }) {
			return
		}
		if d.types[name] != "" {
			s.Columns = append(s.Columns, waybill.SchemaColumn{Name: name, Type: d.types[name]})
			return
		}
		if from := d.source(name); !slices.Contains(d.lacks, from) {
			d.lacks = append(d.lacks, from)
		}
	}
	for _, name := range d.key {
		add(name)
	}
	for i := range c.Key {
		add(c.Key[i].Name)
	}
	for i := range c.Row {
		add(c.Row[i].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(d.types)) {
		add(name)
	}
	return s, d.untyped()
}

// description is what is known of one of the target's tables.
type description struct {
	entity, child string // of the source; the list whose rows the table holds, or ""
	key           []string
	types         map[string]string // by the target's names of columns
	names         map[string]string // what they are called under types, where that differs
	lacks         []string
}

// describe tells what the rule says of to, one of its tables.
func (r *rule) describe(d *description, to string) {
	d.entity = r.Entity
	if r.to == to {
		d.names = make(map[string]string, len(r.rename))
		for from, name := range r.rename {
			if !r.isSet[name] {
				d.names[name] = from
			}
		}
		for column, t := range r.Types {
			d.types[r.named(column)] = t
		}
		return
	}
	for i := range r.Children {
		child := &r.Children[i]
		if child.To != to {
			continue
		}
		d.child, d.key = child.Field, child.Key
		for _, p := range child.Parent {
			if t := r.Types[p.From]; t != "" {
				d.types[p.To] = t
			}
		}
		maps.Copy(d.types, child.Types)
	}
}

func (d *description) source(column string) string {
	if from := d.names[column]; from != "" {
		return from
	}
	return column
}

func (d *description) untyped() string {
	if len(d.lacks) == 0 {
		return ""
	}
	types := "types: {" + strings.Join(d.lacks, ": …, ") + ": …}"
	if d.child != "" {
		types = fmt.Sprintf("children: {%s: {%s}}", d.child, types)
	}
	return fmt.Sprintf("give the types of its columns, so that Waybill does it: mapping: {%s: {%s}}", d.entity, types)
}
