package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
)

// definitions are what a writer does about tables that are not as the source's: see TargetOptions.
// They outlive connections.
type definitions struct {
	opt     *TargetOptions
	owners  map[string]string          // the entity that is written to each table, by its name in lower case
	latest  map[string]*waybill.Schema // of each entity, as of what is committed
	pending map[string]*waybill.Schema // as of the transaction that is under way
}

func newDefinitions(o *TargetOptions) *definitions {
	d := &definitions{opt: o}
	d.forget()
	return d
}

// wants tells whether the entity's table is to be created, and given columns.
func (d *definitions) wants(entity string) (create, evolve bool) {
	if d.opt.Define == nil {
		return false, false
	}
	return d.opt.Define(entity)
}

// forget: the stream may continue from an earlier place.
func (d *definitions) forget() {
	d.owners, d.latest, d.pending = map[string]string{}, map[string]*waybill.Schema{}, map[string]*waybill.Schema{}
}

func (d *definitions) begin() { clear(d.pending) }

// settle: what begin opened is committed.
func (d *definitions) settle() {
	maps.Copy(d.latest, d.pending)
}

// former is the schema that the entity's changes had before.
func (d *definitions) former(entity string) *waybill.Schema {
	if s := d.pending[entity]; s != nil {
		return s
	}
	return d.latest[entity]
}

// disagreement: source and target define a table differently, whatever its rows hold. It is
// permanent.
type disagreement struct{ table, reason, remedy string }

func (d *disagreement) Error() string {
	return fmt.Sprintf("table %s: %s; %s", d.table, d.reason, d.remedy)
}

// define is the table of a change, made or given columns where that is wanted. It runs in the
// batch's transaction: a batch that is refused leaves no trace of it. Untyped is TargetOptions.Describe's.
func (p *planner) define(ctx context.Context, c *waybill.Change) (t *table, untyped string, err error) {
	create, evolve := p.defs.wants(c.Entity)
	name, s := strings.ToLower(tableName(c.Entity)), c.Schema
	if s != nil {
		if owner := p.defs.owners[name]; owner != "" && owner != c.Entity {
			return nil, "", &disagreement{
				table:  tableName(c.Entity),
				reason: fmt.Sprintf("%s and %s would both be written to it, because SQLite has no schemas and does not tell upper from lower case", owner, c.Entity),
				remedy: "give one of them another table with `to` in the mapping",
			}
		}
	} else if (create || evolve) && p.defs.opt.Describe != nil {
		s, untyped = p.defs.opt.Describe(c)
	}
	t, err = p.table(ctx, c.Entity)
	if r, ok := errors.AsType[*refusal](err); ok && r.absent && create && s != nil {
		if untyped != "" {
			r.remedy += "; or " + untyped
			return nil, "", r
		}
		if err = p.createTable(ctx, s, tableName(c.Entity)); err == nil {
			t, err = p.table(ctx, c.Entity)
		}
	}
	if err != nil {
		return nil, "", err
	}
	if c.Schema != nil {
		p.defs.owners[name] = c.Entity
	}
	if !evolve || s == nil {
		return t, "", nil
	}
	missing := missingColumns(t, s, c)
	if err := renamed(t, missing, c); err != nil {
		return nil, "", err
	}
	for _, col := range missing { // nullable: the rows that are there have no value for it
		def := strings.TrimSpace(quote(col.Name) + " " + declaredFor(s, col))
		if err := p.ddl(ctx, t.name, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", quote(t.name), def)); err != nil {
			return nil, "", err
		}
	}
	if len(missing) > 0 {
		t, err = p.table(ctx, c.Entity)
	}
	return t, untyped, err
}

// missingColumns are those that the change carries and the table lacks.
func missingColumns(t *table, s *waybill.Schema, c *waybill.Change) []*waybill.SchemaColumn {
	var missing []*waybill.SchemaColumn
	for i := range s.Columns {
		col := &s.Columns[i]
		_, inKey := c.Key.Get(col.Name)
		_, inRow := c.Row.Get(col.Name)
		if (inKey || inRow) && t.columns[strings.ToLower(col.Name)] == nil {
			missing = append(missing, col)
		}
	}
	return missing
}

// renamed refuses to add columns to a table with one that the source does not have and that fills
// itself with nulls only: one of the new may be that one under another name. A run that saw it before
// says so by itself (follows); this holds after a restart, too.
func renamed(t *table, missing []*waybill.SchemaColumn, c *waybill.Change) error {
	if len(missing) == 0 || c.Schema == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.columns)) {
		col := t.columns[name]
		same := func(n string) bool { return strings.EqualFold(n, col.name) }
		if col.generated || col.fills || slices.ContainsFunc(c.Schema.Columns, func(s waybill.SchemaColumn) bool { return same(s.Name) }) ||
			slices.ContainsFunc(c.Row, func(r waybill.Column) bool { return same(r.Name) }) ||
			slices.ContainsFunc(c.Key, func(r waybill.Column) bool { return same(r.Name) }) {
			continue
		}
		return &disagreement{
			table:  t.name,
			reason: fmt.Sprintf("the source has a column %s that it lacks, and it has a column %s that the source lacks: it may have been renamed there", missing[0].Name, col.name),
			remedy: fmt.Sprintf("ALTER TABLE %[1]s RENAME COLUMN %[2]s TO %[3]s; or, if it is another: ALTER TABLE %[1]s ADD COLUMN %[4]s; then start the pipeline again",
				quote(t.name), quote(col.name), quote(missing[0].Name), strings.TrimSpace(quote(missing[0].Name)+" "+declaredFor(c.Schema, missing[0]))),
		}
	}
	return nil
}

// ddl changes the schema, and forgets what was known of it.
func (p *planner) ddl(ctx context.Context, table, sql string) error {
	if err := p.c.script(ctx, sql); err != nil {
		if primary(err) == lib.SQLITE_ERROR { // the statement, not the disk
			return &disagreement{table: table, reason: "it cannot be made like the source's: " + message(err), remedy: "make it by hand"}
		}
		return err
	}
	p.forget()
	v, err := p.c.number(ctx, "PRAGMA schema_version")
	p.version = v
	return err
}

func (p *planner) createTable(ctx context.Context, s *waybill.Schema, name string) error {
	var parts []string
	for i := range s.Columns {
		col := &s.Columns[i]
		part := strings.TrimSpace(quote(col.Name) + " " + declaredFor(s, col))
		if col.NotNull || slices.Contains(s.Key, col.Name) {
			part += " NOT NULL"
		}
		parts = append(parts, part)
	}
	if len(s.Key) > 0 {
		parts = append(parts, "PRIMARY KEY ("+quotedList(s.Key)+")")
	}
	for _, u := range s.Unique {
		parts = append(parts, "UNIQUE ("+quotedList(u)+")")
	}
	for i := range s.Foreign {
		ok, err := p.referable(ctx, s, name, &s.Foreign[i])
		if err != nil {
			return err
		}
		if f := &s.Foreign[i]; ok {
			parts = append(parts, fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s)",
				quotedList(f.Columns), quote(tableName(f.Entity)), quotedList(f.References)))
		}
	}
	return p.ddl(ctx, name, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)", quote(name), strings.Join(parts, ",\n  ")))
}

// referable: the target has what the foreign key points at, with those columns unique.
func (p *planner) referable(ctx context.Context, s *waybill.Schema, name string, f *waybill.ForeignKey) (bool, error) {
	lower := func(list []string) []string {
		out := make([]string, len(list))
		for i := range list {
			out[i] = strings.ToLower(list[i])
		}
		slices.Sort(out)
		return out
	}
	want := lower(f.References)
	if strings.EqualFold(tableName(f.Entity), name) {
		return slices.Equal(want, lower(s.Key)) || slices.ContainsFunc(s.Unique, func(u []string) bool { return slices.Equal(want, lower(u)) }), nil
	}
	parent, err := readTable(ctx, p.c, tableName(f.Entity))
	if err != nil || parent == nil || parent.kind != "table" {
		return false, err
	}
	return slices.ContainsFunc(parent.keys, func(k []string) bool { return slices.Equal(k, want) }), nil
}

func quotedList(names []string) string {
	out := make([]string, len(names))
	for i := range names {
		out[i] = quote(names[i])
	}
	return strings.Join(out, ", ")
}

// agree looks at a schema before the first of a transaction's changes that has it.
func (p *planner) agree(ctx context.Context, e *entityPlans, entity string, s *waybill.Schema) error {
	if e.schema != s {
		e.drop()
		t, err := p.table(ctx, entity)
		var r *refusal
		switch {
		case errors.As(err, &r): // the change says so, or makes the table
		case err != nil:
			return err
		default:
			_, evolve := p.defs.wants(entity)
			if err := p.compare(t, s, evolve); err != nil {
				return err
			}
			if former := p.defs.former(entity); former != nil && evolve {
				if err := follows(t, former, s); err != nil {
					return err
				}
			}
		}
		e.schema = s
	}
	e.agreed, p.defs.pending[entity] = s, s
	return nil
}

// compare looks for columns that cannot hold what the source's hold.
func (p *planner) compare(t *table, s *waybill.Schema, evolve bool) error {
	if s.System != "postgres" {
		return nil
	}
	for i := range s.Columns {
		col := t.columns[strings.ToLower(s.Columns[i].Name)]
		if col == nil || col.generated {
			continue
		}
		from := typeOf(&s.Columns[i])
		if !from.garbles(col) && (from.fits(col) || !evolve) {
			continue
		}
		return &disagreement{
			table:  t.name,
			reason: fmt.Sprintf("column %s (%s) cannot hold every value of the source's type %s", col.name, declaredType(col), s.Columns[i].Type),
			remedy: fmt.Sprintf("declare it %s (SQLite cannot change a column's type: make a new table, copy and rename), or leave the column out with `drop` in the mapping", from.declared()),
		}
	}
	return nil
}

// follows looks at what became of the columns since the former schema.
func follows(t *table, former, s *waybill.Schema) error {
	for i := range former.Columns {
		old := &former.Columns[i]
		col := t.columns[strings.ToLower(old.Name)]
		if col == nil {
			continue
		}
		n := slices.IndexFunc(s.Columns, func(c waybill.SchemaColumn) bool { return c.Name == old.Name })
		if n < 0 {
			return &disagreement{
				table:  t.name,
				reason: fmt.Sprintf("the source has no column %s any more, dropped or renamed", old.Name),
				remedy: fmt.Sprintf("ALTER TABLE %[1]s DROP COLUMN %[2]s; or ALTER TABLE %[1]s RENAME COLUMN %[2]s TO …; then start the pipeline again", quote(t.name), quote(col.name)),
			}
		}
		if now := &s.Columns[n]; s.System == "postgres" && (now.Type != old.Type || now.Base != old.Base) && !typeOf(old).widens(typeOf(now)) {
			return &disagreement{
				table:  t.name,
				reason: fmt.Sprintf("the source changed the type of column %s from %s to %s, and does not log what that made of the rows that were there", old.Name, old.Type, now.Type),
				remedy: "change the rows here alike, then start the pipeline again",
			}
		}
	}
	return nil
}
