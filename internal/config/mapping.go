package config

import "cmp"

// Rule says what becomes of one entity on the way. What its expressions mean is checked by who
// compiles them; each knows its place, so that a fault there reads like one of this package.
type Rule struct {
	Entity   string // its name at the source
	To       string // the target's table, "" for the entity's
	Columns  map[string]string
	Only     []string
	Drop     []string
	Set      []Expression // in the order of the file
	Where    *Expression  // nil: all rows
	Types    map[string]string
	Children []Child // in the order of the file
	// Create and Evolve are the pipeline's, unless the rule says otherwise.
	Create, Evolve bool
	Place          Place
}

// TargetTable is the name of the entity's table at the target.
func (r *Rule) TargetTable() string { return cmp.Or(r.To, r.Entity) }

// Expression is a CEL expression.
type Expression struct {
	Column string // that it is the value of; "" for a condition
	Text   string
	Place  Place
	// Variable: its text comes from an environment variable in part and must not be shown.
	Variable bool
}

// Child is a column whose list of objects becomes rows of a table.
type Child struct {
	Column string
	To     string
	Key    []string
	Parent map[string]string // the child's column: the parent's
	Types  map[string]string
	Place  Place
}

// Place is where something stands in the file.
type Place struct {
	Line, Column int
	Path         string
}

// Fault is a fault at the place. Line and column, from 1, are within a text of more than one.
func (p Place) Fault(file, message string) Fault {
	return Fault{File: file, Line: p.Line, Column: p.Column, Path: p.Path, Message: message}
}

func buildMapping(p *pipelineValue) []Rule {
	v := p.get("mapping")
	if v == nil {
		return nil
	}
	at := func(v *value, path string) Place { return Place{v.at.line, v.at.col, path} }
	rules := make([]Rule, 0, len(v.keys))
	for _, entity := range v.keys {
		r, path := v.get(entity), join(p.path+".mapping", entity)
		rule := Rule{
			Entity: entity, To: r.get("to").str(), Columns: r.get("columns").pairs(), Only: r.get("only").texts(), Drop: r.get("drop").texts(),
			Types: r.get("types").pairs(), Place: at(r, path), Create: p.get("create").yes(), Evolve: p.get("evolve").yes(),
		}
		if own := r.get("create"); own != nil {
			rule.Create = own.yes()
		}
		if own := r.get("evolve"); own != nil {
			rule.Evolve = own.yes()
		}
		if where := r.get("where"); where.str() != "" {
			rule.Where = &Expression{Text: where.text, Place: at(where, path+".where"), Variable: where.variable}
		}
		if set := r.get("set"); set != nil {
			for _, column := range set.keys {
				e := set.get(column)
				rule.Set = append(rule.Set, Expression{Column: column, Text: e.text, Place: at(e, join(path+".set", column)), Variable: e.variable})
			}
		}
		if children := r.get("children"); children != nil {
			for _, column := range children.keys {
				c := children.get(column)
				rule.Children = append(rule.Children, Child{
					Column: column, To: c.get("to").str(), Key: c.get("key").texts(), Parent: c.get("parent").pairs(), Types: c.get("types").pairs(), Place: at(c, join(path+".children", column)),
				})
			}
		}
		rules = append(rules, rule)
	}
	return rules
}

// yes is whether a boolean is true; nil is not.
func (v *value) yes() bool { return v != nil && v.num == 1 }

// texts are the items of a list, nil for nil.
func (v *value) texts() []string {
	if v == nil {
		return nil
	}
	all := make([]string, 0, len(v.items))
	for _, item := range v.items {
		all = append(all, item.text)
	}
	return all
}

// pairs are names with the texts that they hold, nil for nil.
func (v *value) pairs() map[string]string {
	if v == nil {
		return nil
	}
	all := make(map[string]string, len(v.keys))
	for _, k := range v.keys {
		all[k] = v.fields[k].str()
	}
	return all
}
