package sqlite

import (
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
}

// statement is prepared SQL and where its arguments come from.
type statement struct {
	prepared
	args    []driver.NamedValue
	sources []source
}

// source is where an argument comes from: a column of the change's row or of its key.
type source struct {
	column *column
	index  int
	key    bool
}

// maxShapes bounds the plans kept for one entity; beyond, they are made anew.
const maxShapes = 64

// planner keeps the plans for one connection.
type planner struct {
	c       *conn
	version int64 // schema_version for which tables and plans hold
	tables  map[string]*table
	plans   map[string]*[waybill.Delete + 1][]*plan
}

func newPlanner(c *conn) *planner {
	p := &planner{c: c}
	p.forget()
	return p
}

// forget closes all plans.
func (p *planner) forget() {
	for _, ops := range p.plans {
		for _, list := range ops {
			closePlans(list)
		}
	}
	p.tables = map[string]*table{}
	p.plans = map[string]*[waybill.Delete + 1][]*plan{}
}

func closePlans(list []*plan) {
	for _, pl := range list {
		_ = pl.main.Close()
		if pl.fallback != nil {
			_ = pl.fallback.Close()
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
	ops := p.plans[c.Entity]
	if ops == nil {
		ops = new([waybill.Delete + 1][]*plan)
		p.plans[c.Entity] = ops
	}
	for _, pl := range ops[c.Op] {
		if sameNames(pl.row, c.Row) && sameNames(pl.key, c.Key) {
			return pl, nil
		}
	}
	pl, err := p.build(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(ops[c.Op]) >= maxShapes {
		closePlans(ops[c.Op])
		ops[c.Op] = nil
	}
	ops[c.Op] = append(ops[c.Op], pl)
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

func (p *planner) build(ctx context.Context, c *waybill.Change) (*plan, error) {
	t, err := p.table(ctx, c.Entity)
	if err != nil {
		return nil, err
	}
	pl := &plan{table: t}
	b := builder{t: t}
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
	var main, fallback sqlText
	switch c.Op {
	case waybill.Insert:
		main, pl.once = b.insert(!keyed), !keyed
	case waybill.Update:
		main = b.update()
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
	}
	if pl.main, err = p.prepare(ctx, main); err != nil {
		return nil, err
	}
	if fallback.text != "" {
		if pl.fallback, err = p.prepare(ctx, fallback); err != nil {
			_ = pl.main.Close()
			return nil, err
		}
	}
	return pl, nil
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
		return nil, &refusal{reason: fmt.Sprintf("the target has no table %s", name), remedy: "create it"}
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
	key, row []source
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
			return nil, &refusal{
				reason: fmt.Sprintf("table %s has no column %s", b.t.name, name),
				remedy: fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s", quote(b.t.name), quote(name)),
			}
		}
		if seen[col] {
			return nil, &refusal{reason: fmt.Sprintf("column %s stands there twice, in upper and lower case", col.name)}
		}
		seen[col] = true
		if col.generated && !key {
			continue
		}
		out = append(out, source{column: col, index: i, key: key})
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
	for _, c := range b.row {
		set = append(set, quote(c.column.name)+" = ?")
	}
	sources := append([]source(nil), b.row...)
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
	for _, k := range b.key {
		and = append(and, quote(k.column.name)+" = ?")
	}
	return strings.Join(and, " AND ")
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
