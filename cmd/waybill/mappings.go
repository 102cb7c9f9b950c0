package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/mapping"
)

// checkMappings finds what is wrong with the mappings of a configuration, without connecting. Its
// error is of type config.Faults.
func checkMappings(cfg *config.Config) error {
	var faults config.Faults
	for i := range cfg.Pipelines {
		_, err := newMapping(&cfg.Pipelines[i])
		faults = append(faults, mappingFaults(cfg.File, &cfg.Pipelines[i], err)...)
		faults = append(faults, misplacedRules(cfg.File, &cfg.Pipelines[i])...)
	}
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b config.Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return faults
}

// newMapping makes p's mapping ready, nil for none.
func newMapping(p *config.Pipeline) (*mapping.Mapping, error) {
	if len(p.Mapping) == 0 {
		return nil, nil
	}
	rules := make([]mapping.Rule, 0, len(p.Mapping))
	for i := range p.Mapping {
		rules = append(rules, ruleOf(&p.Mapping[i]))
	}
	return mapping.Compile(rules)
}

func ruleOf(in *config.Rule) mapping.Rule {
	r := mapping.Rule{
		Entity: in.Entity, To: in.To, Columns: renames(in.Columns), Only: in.Only, Drop: in.Drop, Types: in.Types,
	}
	if in.Where != nil {
		r.Where = in.Where.Text
	}
	for _, s := range in.Set {
		r.Set = append(r.Set, mapping.Set{Column: s.Column, Expression: s.Text})
	}
	for _, c := range in.Children {
		child := mapping.Child{Field: c.Column, To: c.To, Key: c.Key, Types: c.Types}
		for _, column := range slices.Sorted(maps.Keys(c.Parent)) { // the child's: the parent's
			child.Parent = append(child.Parent, mapping.Rename{From: c.Parent[column], To: column})
		}
		r.Children = append(r.Children, child)
	}
	return r
}

// renames are in alphabetical order, so that faults are the same each time.
func renames(columns map[string]string) []mapping.Rename {
	var all []mapping.Rename
	for _, from := range slices.Sorted(maps.Keys(columns)) {
		all = append(all, mapping.Rename{From: from, To: columns[from]})
	}
	return all
}

// mappingFaults gives each fault of a mapping its place in the file.
func mappingFaults(file string, p *config.Pipeline, err error) config.Faults {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var faults config.Faults
	seen := map[string]bool{} // expressions: of what does not parse the first fault tells most
	for _, err := range all {
		var e *mapping.Error
		if !errors.As(err, &e) {
			faults = append(faults, config.Fault{File: file, Line: p.Line, Column: p.Column, Path: "pipelines." + p.Name + ".mapping", Message: err.Error()})
			continue
		}
		if at := e.Entity + "." + e.Field; e.Line == 0 || !seen[at] {
			seen[at] = e.Line > 0
			faults = append(faults, mappingFault(file, p, e))
		}
	}
	return faults
}

func mappingFault(file string, p *config.Pipeline, e *mapping.Error) config.Fault {
	i := slices.IndexFunc(p.Mapping, func(r config.Rule) bool { return r.Entity == e.Entity })
	if i < 0 {
		return config.Fault{File: file, Line: p.Line, Column: p.Column, Path: "pipelines." + p.Name + ".mapping", Message: e.Message}
	}
	r := &p.Mapping[i]
	if x := expressionAt(r, e.Field); x != nil {
		switch {
		case x.Variable: // it may quote what the variable holds
			return x.Place.Fault(file, "is not a valid expression; its text comes from a variable and is not shown")
		case e.Line > 1:
			return x.Place.Fault(file, fmt.Sprintf("in line %d, column %d of the expression: %s", e.Line, e.Column, e.Message))
		case e.Line == 1:
			return x.Place.Fault(file, fmt.Sprintf("at column %d of the expression: %s", e.Column, e.Message))
		}
		return x.Place.Fault(file, e.Message)
	}
	for _, c := range r.Children {
		if rest, ok := strings.CutPrefix(e.Field, "children."+c.Column); ok && (rest == "" || rest[0] == '.') {
			place := c.Place
			place.Path += rest
			return place.Fault(file, e.Message)
		}
	}
	place := r.Place
	if e.Field != "" {
		place.Path += "." + e.Field
	}
	return place.Fault(file, e.Message)
}

// definer tells what p says of create and evolve for a table of its target, nil for nothing. For those
// of which nothing is known yet ("") it takes into account whether they will be described at all.
func definer(p *config.Pipeline) func(entity string) (create, evolve bool) {
	ruled, some := map[string]*config.Rule{}, p.Create || p.Evolve
	described := !p.Source.IsSet() || p.Source.Postgres != nil && p.Source.Postgres.Capture == "changes"
	for i := range p.Mapping {
		r := &p.Mapping[i]
		some = some || r.Create || r.Evolve
		described = described || len(r.Types) > 0
		ruled[r.TargetTable()] = r
		for j := range r.Children {
			ruled[r.Children[j].To] = r
		}
	}
	if !some {
		return nil
	}
	return func(entity string) (create, evolve bool) {
		if r := ruled[entity]; r != nil {
			return r.Create, r.Evolve
		}
		return p.Create && (described || entity != ""), p.Evolve
	}
}

func expressionAt(r *config.Rule, field string) *config.Expression {
	if field == "where" {
		return r.Where
	}
	for i := range r.Set {
		if field == "set."+r.Set[i].Column {
			return &r.Set[i]
		}
	}
	return nil
}

// mapped puts a mapping around a reader; nil is none.
func mapped(m *mapping.Mapping, r waybill.Reader) waybill.Reader {
	if m == nil {
		return r
	}
	return m.Reader(r)
}

// mappedTo puts a mapping around a writer; nil is none.
func mappedTo(m *mapping.Mapping, w waybill.Writer) waybill.Writer {
	if m == nil {
		return w
	}
	return m.Writer(w)
}
