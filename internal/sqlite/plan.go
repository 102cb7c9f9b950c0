package sqlite

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	waybill "github.com/waybill-data/waybill"
)

// plan is how changes of one shape (entity, operation, names of columns in order) are
// carried out.
type plan struct {
	table *table
	key   []string // names of the key's columns as the changes write them
	row   []string // names of the row's columns
	main  *statement
	// fallback is tried where the target refuses the row that an upsert would insert:
	// the row may exist, and then an upsert only changes what it carries.
	fallback *statement
	// once: the row must not exist yet, and no index says so.
	once bool
	// fact: the changes were captured; other is what then is done where the row is not as expected.
	fact  bool
	other *statement
	moves bool // movesKey
}

// statement is prepared SQL and where its arguments come from.
type statement struct {
	prepared
	args    []driver.NamedValue
	sources []source
	decoded []byte // values of this run
}

// source is where an argument comes from: a column of the change's row or of its key.
type source struct {
	column *column
	index  int
	key    bool
	// document: the source's type is json; float: one of the floating point types.
	document, float bool
}

// maxShapes bounds the plans kept for one entity; beyond, they are made anew.
const maxShapes = 64

// planner keeps the plans for one connection.
type planner struct {
	c       *conn
	version int64 // schema_version for which tables and plans hold
	tables  map[string]*table
	plans   map[string]*entityPlans
	defs    *definitions
}

// entityPlans are the plans for one entity.
type entityPlans struct {
	// schema is the one that the plans are for; agreed the same once it has been looked at in this
	// transaction.
	schema, agreed *waybill.Schema
	ops            [waybill.Truncate + 1][]*plan
}

func newPlanner(c *conn, defs *definitions) *planner {
	p := &planner{c: c, defs: defs}
	p.forget()
	return p
}

// forget closes all plans.
func (p *planner) forget() {
	for _, e := range p.plans {
		e.drop()
	}
	p.tables = map[string]*table{}
	p.plans = map[string]*entityPlans{}
}

// begin is called in every transaction, before its first change.
func (p *planner) begin() {
	p.defs.begin()
	for _, e := range p.plans {
		e.agreed = nil
	}
}

func (e *entityPlans) drop() {
	for op, list := range e.ops {
		closePlans(list)
		e.ops[op] = nil
	}
}

func closePlans(list []*plan) {
	for _, pl := range list {
		_ = pl.main.Close()
		for _, s := range []*statement{pl.fallback, pl.other} {
			if s != nil {
				_ = s.Close()
			}
		}
	}
}

// refresh forgets what no longer holds when somebody changed the schema.
func (p *planner) refresh(ctx context.Context) error {
	v, err := p.c.number(ctx, "PRAGMA schema_version")
	if err != nil {
		return err
	}
	if v != p.version {
		p.forget()
		p.version = v
	}
	return nil
}

// plan finds or makes the plan for a change. The error may be a *refusal.
func (p *planner) plan(ctx context.Context, c *waybill.Change) (*plan, error) {
	e := p.plans[c.Entity]
	if e == nil {
		e = &entityPlans{}
		p.plans[c.Entity] = e
	}
	if c.Schema != nil && c.Schema != e.agreed {
		if err := p.agree(ctx, e, c.Entity, c.Schema); err != nil {
			return nil, err
		}
	}
	for _, pl := range e.ops[c.Op] {
		if sameNames(pl.row, c.Row) && sameNames(pl.key, c.Key) && pl.fact == (c.Schema != nil) && pl.moves == movesKey(c) {
			return pl, nil
		}
	}
	pl, err := p.build(ctx, c)
	if err != nil {
		return nil, err
	}
	// Building may have changed the table, and forgotten all plans.
	if e = p.plans[c.Entity]; e == nil {
		e = &entityPlans{schema: c.Schema, agreed: c.Schema}
		p.plans[c.Entity] = e
	}
	if len(e.ops[c.Op]) >= maxShapes {
		closePlans(e.ops[c.Op])
		e.ops[c.Op] = nil
	}
	e.ops[c.Op] = append(e.ops[c.Op], pl)
	return pl, nil
}

func sameNames(names []string, r waybill.Row) bool {
	if len(names) != len(r) {
		return false
	}
	for i := range r {
		if names[i] != r[i].Name {
			return false
		}
	}
	return true
}

// movesKey tells whether the row may hold other values for the key's columns than the key does.
func movesKey(c *waybill.Change) bool {
	for i := range c.Key {
		k := &c.Key[i].Value
		v, ok := c.Row.Get(c.Key[i].Name)
		if ok && (v.Form != k.Form || v.Encoding != k.Encoding || !bytes.Equal(v.Raw, k.Raw)) {
			return true
		}
	}
	return false
}

func (p *planner) build(ctx context.Context, c *waybill.Change) (*plan, error) {
	t, untyped, err := p.define(ctx, c)
	if err != nil {
		return nil, err
	}
	pl := &plan{table: t, fact: c.Schema != nil, moves: movesKey(c)}
	b := builder{t: t, schema: c.Schema, untyped: untyped, moves: pl.moves}
	for _, col := range c.Key {
		pl.key = append(pl.key, col.Name)
	}
	for _, col := range c.Row {
		pl.row = append(pl.row, col.Name)
	}
	if b.key, err = b.columns(pl.key, true); err != nil {
		return nil, err
	}
	if b.row, err = b.columns(pl.row, false); err != nil {
		return nil, err
	}
	keyed := t.hasKey(sourceColumns(b.key))
	b.single = pl.fact && !keyed && len(c.Schema.Key) == 0 && t.rowid
	var main, fallback, other sqlText
	switch c.Op {
	case waybill.Insert:
		pl.once = !keyed && !b.single
		main = b.insert(pl.once)
		if pl.fact && !b.single {
			other = b.update()
		}
	case waybill.Update:
		main = b.update()
		if pl.fact && b.whole() {
			if other = b.insert(false); keyed {
				other = b.upsert()
			}
		}
	case waybill.Upsert:
		if !keyed {
			return nil, &refusal{
				reason: fmt.Sprintf("table %s has no primary key or unique index on (%s), which an upsert needs", t.name, names(b.key)),
				remedy: fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s)", quote("waybill_"+t.name+"_key"), quote(t.name), quotedNames(b.key)),
			}
		}
		main, fallback = b.upsert(), b.update()
	case waybill.Delete:
		main = b.remove()
	case waybill.Truncate:
		if main = b.remove(); len(b.key) == 0 {
			main = sqlText{text: "DELETE FROM " + quote(t.name)}
		}
	}
	return pl, p.prepareAll(ctx, pl, main, fallback, other)
}

// prepareAll prepares the statements of a plan, of which only the first must be there.
func (p *planner) prepareAll(ctx context.Context, pl *plan, main, fallback, other sqlText) (err error) {
	for _, s := range []struct {
		text sqlText
		to   **statement
	}{{main, &pl.main}, {fallback, &pl.fallback}, {other, &pl.other}} {
		if s.text.text == "" {
			continue
		}
		if *s.to, err = p.prepare(ctx, s.text); err != nil {
			if pl.main != nil {
				closePlans([]*plan{pl})
			}
			return err
		}
	}
	return nil
}

// table describes the entity's table.
func (p *planner) table(ctx context.Context, entity string) (*table, error) {
	name := tableName(entity)
	lower := strings.ToLower(name)
	if t := p.tables[lower]; t != nil {
		return t, nil
	}
	if strings.HasPrefix(lower, "waybill_") || strings.HasPrefix(lower, "sqlite_") {
		return nil, &refusal{reason: fmt.Sprintf("table %s does not belong to the data", name)}
	}
	t, err := readTable(ctx, p.c, name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, &refusal{reason: fmt.Sprintf("the target has no table %s", name), remedy: "create it", absent: true}
	}
	if t.kind != "table" {
		return nil, &refusal{reason: fmt.Sprintf("%s at the target is a %s, not an ordinary table", name, t.kind)}
	}
	p.tables[lower] = t
	return t, nil
}

func (p *planner) prepare(ctx context.Context, s sqlText) (*statement, error) {
	st, err := p.c.prepare(ctx, s.text)
	if err != nil {
		return nil, err
	}
	out := &statement{prepared: st, args: make([]driver.NamedValue, len(s.sources)), sources: s.sources}
	for i := range out.args {
		out.args[i].Ordinal = i + 1
	}
	return out, nil
}

// builder writes the SQL for one shape of change.
type builder struct {
	t        *table
	schema   *waybill.Schema
	untyped  string // why a column that the table lacks was not added; empty where nothing can be said
	key, row []source
	// single: rows have no key, so of equal ones a change is about any one.
	single bool
	// moves: the row's values for the key are others than the key's.
	moves bool
}

// sqlText is a statement whose parameters are filled from sources in order.
type sqlText struct {
	text    string
	sources []source
}

// columns looks the names up. Generated columns of the row are left out.
func (b *builder) columns(list []string, key bool) ([]source, error) {
	var out []source
	seen := map[*column]bool{}
	for i, name := range list {
		col := b.t.columns[strings.ToLower(name)]
		if col == nil {
			r := &refusal{
				reason: fmt.Sprintf("table %s has no column %s", b.t.name, name),
				remedy: fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", quote(b.t.name), quote(name)),
			}
			if b.untyped != "" {
				r.remedy += "; or " + b.untyped
			}
			return nil, r
		}
		if seen[col] {
			return nil, &refusal{reason: fmt.Sprintf("column %s stands there twice, in upper and lower case", col.name)}
		}
		seen[col] = true
		if col.generated && !key {
			continue
		}
		of := ofSource(b.schema, name)
		out = append(out, source{column: col, index: i, key: key, document: of.isDocument(), float: of.isFloat()})
	}
	return out, nil
}

// written are the columns of a new row: those carried, and those of the key that are not.
func (b *builder) written() []source {
	list := append([]source(nil), b.row...)
	for _, k := range b.key {
		if !k.column.generated && !contains(b.row, k.column) {
			list = append(list, k)
		}
	}
	return list
}

// OR ABORT everywhere: a table's own ON CONFLICT clauses could otherwise skip the row,
// remove another one, or end the transaction.

func (b *builder) insert(unlessExists bool) sqlText {
	w := b.written()
	s := sqlText{sources: w}
	s.text = fmt.Sprintf("INSERT OR ABORT INTO %s (%s) ", quote(b.t.name), quotedNames(w))
	if !unlessExists {
		s.text += "VALUES (" + marks(len(w)) + ")"
		return s
	}
	s.text += fmt.Sprintf("SELECT %s WHERE NOT EXISTS (SELECT 1 FROM %s WHERE %s)", marks(len(w)), quote(b.t.name), b.where())
	s.sources = append(s.sources[:len(w):len(w)], b.key...)
	return s
}

func (b *builder) upsert() sqlText {
	w := b.written()
	var set []string
	for _, c := range b.row {
		if !contains(b.key, c.column) {
			set = append(set, fmt.Sprintf("%[1]s = excluded.%[1]s", quote(c.column.name)))
		}
	}
	if len(set) == 0 { // nothing to change, and yet the row counts as found
		set = append(set, fmt.Sprintf("%[1]s = excluded.%[1]s", quote(b.key[0].column.name)))
	}
	return sqlText{sources: w, text: fmt.Sprintf("INSERT OR ABORT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s",
		quote(b.t.name), quotedNames(w), marks(len(w)), quotedNames(b.key), strings.Join(set, ", "))}
}

func (b *builder) update() sqlText {
	var set []string
	var sources []source
	for _, c := range b.row {
		// For a column that is set, be it to what it holds, SQLite reads all rows that refer to it.
		if b.moves || !contains(b.key, c.column) {
			set, sources = append(set, quote(c.column.name)+" = ?"), append(sources, c)
		}
	}
	if len(set) == 0 { // nothing to change: only that the row is there
		set = append(set, fmt.Sprintf("%[1]s = %[1]s", quote(b.anyColumn())))
	}
	return sqlText{sources: append(sources, b.key...), text: fmt.Sprintf("UPDATE OR ABORT %s SET %s WHERE %s",
		quote(b.t.name), strings.Join(set, ", "), b.where())}
}

// anyColumn is a column that can be set.
func (b *builder) anyColumn() string {
	for _, k := range b.key {
		if !k.column.generated {
			return k.column.name
		}
	}
	for _, c := range b.t.columns {
		if !c.generated {
			return c.name
		}
	}
	return ""
}

func (b *builder) remove() sqlText {
	return sqlText{sources: b.key, text: fmt.Sprintf("DELETE FROM %s WHERE %s", quote(b.t.name), b.where())}
}

func (b *builder) where() string {
	var and []string
	is := " = ?"
	if b.single { // such keys are whole rows, nulls and all
		is = " IS ?"
	}
	for _, k := range b.key {
		and = append(and, quote(k.column.name)+is)
	}
	where := strings.Join(and, " AND ")
	if b.single {
		where = fmt.Sprintf("rowid = (SELECT rowid FROM %s WHERE %s LIMIT 1)", quote(b.t.name), where)
	}
	return where
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func contains(list []source, c *column) bool {
	for _, s := range list {
		if s.column == c {
			return true
		}
	}
	return false
}

func sourceColumns(list []source) []*column {
	out := make([]*column, len(list))
	for i, s := range list {
		out[i] = s.column
	}
	return out
}

func names(list []source) string {
	var out []string
	for _, s := range list {
		out = append(out, s.column.name)
	}
	return strings.Join(out, ", ")
}

func quotedNames(list []source) string {
	var out []string
	for _, s := range list {
		out = append(out, quote(s.column.name))
	}
	return strings.Join(out, ", ")
}
