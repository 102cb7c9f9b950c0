package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rename gives a column another name.
type Rename struct{ From, To string }

// Set computes a column of the target, named as the target names it, by a CEL expression.
type Set struct{ Column, Expression string }

// Child makes the objects of a list rows of another entity.
type Child struct {
	// Field is the column that holds the list, To the entity of its rows.
	Field, To string
	// Key are the columns of the rows' key: of the objects, or of Parent.
	Key []string
	// Parent gives each row columns of its parent: From is the parent's name at the source, To
	// the row's.
	Parent []Rename
	// Types are the types of the rows' columns. Those that Parent gives have their parent's, unless
	// said here.
	Types map[string]string
}

// Rule says what becomes of the changes of one entity.
type Rule struct {
	Entity string // as the source names it
	To     string // as the target does; empty: the same
	// Columns are renamed.
	Columns []Rename
	// Only these columns pass, or all but those of Drop; at most one of the two is given.
	Only, Drop []string
	Set        []Set
	Where      string // CEL; empty: every row
	// Types are the types of columns of rows that come without a schema, by their source names,
	// and of those that Set adds.
	Types    map[string]string
	Children []Child
}

// Error is a fault of a rule.
type Error struct {
	Entity string
	// Field is the rule's part: "where", "set.email", "children.phones.key".
	Field string
	// Line and Column, from 1, are within the expression; 0 where it is none.
	Line, Column int
	Message      string
}

func (e *Error) Error() string {
	s := "mapping." + e.Entity
	if e.Field != "" {
		s += "." + e.Field
	}
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	return s + ": " + e.Message
}

// Mapping is compiled rules. It is never modified; each decorator keeps its own memory.
type Mapping struct {
	rules  map[string]*rule // by Rule.Entity
	target map[string]*rule // by the target's name
}

// rule is a Rule made ready. Names of columns are the source's where nothing else is said.
type rule struct {
	Rule
	to      string
	rename  map[string]string
	renamed map[string]bool // the names that renames give
	only    map[string]bool // nil: all
	drop    map[string]bool
	where   *expression
	set     []setColumn
	isSet   map[string]bool // by the target's name
	lists   map[string]bool // columns that children take
}

type setColumn struct {
	name string
	*expression
}

// Compile makes rules ready without connecting anywhere. Its error joins one *Error for each fault.
func Compile(rules []Rule) (*Mapping, error) {
	c := compiler{Mapping: Mapping{rules: map[string]*rule{}, target: map[string]*rule{}}}
	env, err := newEnvironment()
	if err != nil {
		return nil, fmt.Errorf("prepare the expressions: %w", err)
	}
	c.env = env
	for i := range rules {
		c.add(rules[i])
	}
	if len(c.faults) > 0 {
		return nil, errors.Join(c.faults...)
	}
	return &c.Mapping, nil
}

type compiler struct {
	Mapping
	env    *environment
	rule   *rule
	faults []error
}

func (c *compiler) fault(field, format string, args ...any) {
	c.faults = append(c.faults, &Error{Entity: c.rule.Entity, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (c *compiler) add(in Rule) {
	r := &rule{
		Rule: in, to: in.To, rename: map[string]string{}, renamed: map[string]bool{}, only: setOf(in.Only), drop: setOf(in.Drop),
		isSet: map[string]bool{}, lists: map[string]bool{},
	}
	c.rule = r
	if r.to == "" {
		r.to = r.Entity
	}
	if r.Entity == "" {
		c.fault("", "the entity has no name")
	}
	if c.rules[r.Entity] != nil {
		c.fault("", "the entity has a rule already")
	}
	c.rules[r.Entity] = r
	c.address("to", r.to)
	c.columns()
	c.expressions()
	for i := range r.Children {
		c.child(&r.Children[i])
	}
}

// address takes a table of the target, which belongs to one rule.
func (c *compiler) address(field, to string) {
	if other := c.target[to]; other != nil {
		c.fault(field, "%s is where %s goes already", to, other.Entity)
		return
	}
	c.target[to] = c.rule
}

func (c *compiler) columns() {
	r := c.rule
	if r.only != nil && r.drop != nil {
		c.fault("drop", "only says already which columns pass")
	}
	for _, col := range r.Columns {
		field := "columns." + col.From
		switch {
		case col.From == "" || col.To == "":
			c.fault(field, "a column has no name")
		case r.rename[col.From] != "":
			c.fault(field, "the column is renamed already")
		case r.renamed[col.To]:
			c.fault(field, "another column is named %s already", col.To)
		case !r.passes(col.From):
			c.fault(field, "the column does not pass: only or drop leaves it out")
		}
		r.rename[col.From] = col.To
		r.renamed[col.To] = true
	}
	for column := range r.Types {
		if computed := slices.ContainsFunc(r.Set, func(s Set) bool { return s.Column == column }); !computed && !r.passes(column) {
			c.fault("types."+column, "the column does not pass: only or drop leaves it out")
		}
	}
}

func (c *compiler) expressions() {
	r := c.rule
	if strings.TrimSpace(r.Where) != "" {
		r.where = c.compile("where", r.Where)
		if r.where != nil && !r.where.mayBeBool() {
			c.fault("where", "it is %s, not true or false", r.where.kind())
		}
	}
	for _, s := range r.Set {
		field := "set." + s.Column
		switch {
		case s.Column == "":
			c.fault(field, "the column has no name")
		case r.isSet[s.Column]:
			c.fault(field, "the column is set already")
		case r.rename[s.Column] != "" && !r.renamed[s.Column]:
			c.fault(field, "the column is renamed: the target knows it as %s", r.rename[s.Column])
		}
		r.isSet[s.Column] = true
		e := c.compile(field, s.Expression)
		if e == nil {
			continue
		}
		for _, column := range e.columns {
			if !r.passes(column) {
				c.fault(field, "row.%s does not pass: only or drop leaves it out before set sees it", column)
			}
		}
		r.set = append(r.set, setColumn{s.Column, e})
	}
}

func (c *compiler) compile(field, text string) *expression {
	e, faults := c.env.compile(text, field != "where")
	for _, f := range faults {
		f.Entity, f.Field = c.rule.Entity, field
		c.faults = append(c.faults, f)
	}
	return e
}

func (c *compiler) child(child *Child) {
	r, field := c.rule, "children."+child.Field
	switch {
	case child.Field == "":
		c.fault(field, "the column has no name")
	case r.lists[child.Field]:
		c.fault(field, "the column is taken already")
	case r.rename[child.Field] != "":
		c.fault(field, "the column is renamed, and there is none of it at the target")
	case !r.passes(child.Field):
		c.fault(field, "the column does not pass: only or drop leaves it out")
	}
	r.lists[child.Field] = true
	if child.To == "" {
		c.fault(field+".to", "it names no entity")
	} else {
		c.address(field+".to", child.To)
	}
	if len(child.Key) == 0 {
		c.fault(field+".key", "it names no column")
	}
	if len(child.Parent) == 0 {
		c.fault(field+".parent", "it names no column, so that nothing would tell whose the rows are")
	}
	seen := map[string]bool{}
	for _, p := range child.Parent {
		switch {
		case p.From == "" || p.To == "":
			c.fault(field+".parent", "a column has no name")
		case seen[p.To]:
			c.fault(field+".parent."+p.To, "the column is given already")
		case !r.passes(p.From):
			c.fault(field+".parent."+p.To, "%s does not pass: only or drop leaves it out", p.From)
		}
		seen[p.To] = true
	}
	for i, k := range child.Key {
		if k == "" || slices.Contains(child.Key[:i], k) {
			c.fault(field+".key", "a column has no name or stands twice")
		}
	}
}

func setOf(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// passes tells whether only and drop let the column through.
func (r *rule) passes(column string) bool {
	return !r.drop[column] && (r.only == nil || r.only[column])
}

// named is the target's name of a column.
func (r *rule) named(column string) string {
	if to := r.rename[column]; to != "" {
		return to
	}
	return column
}

// shrinks tells whether only or drop leave anything out.
func (r *rule) shrinks() bool { return r.only != nil || r.drop != nil }
