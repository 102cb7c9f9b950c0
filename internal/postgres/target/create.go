package target

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// ddlPatience is how long a change of the schema waits for locks. Readers of the table queue up
// behind it meanwhile.
const ddlPatience = "5s"

// definitions is what the writer knows of the schemas that changes brought, since Resume.
type definitions struct {
	agreed  map[string]agreement       // by entity
	latest  map[string]*waybill.Schema // by entity, as of what is committed
	pending map[string]*waybill.Schema // as of the transaction that is under way
	last    *waybill.Schema            // of the change before
}

// agreement: the schema was compared with the table.
type agreement struct {
	table  *targetTable
	schema *waybill.Schema
}

func newDefinitions() *definitions {
	return &definitions{agreed: map[string]agreement{}, latest: map[string]*waybill.Schema{}, pending: map[string]*waybill.Schema{}}
}

// begin is called before the first change of every attempt.
func (d *definitions) begin() {
	d.last = nil
	clear(d.pending)
}

// settle: what begin opened is committed.
func (d *definitions) settle() { maps.Copy(d.latest, d.pending) }

// disagreement: source and target define a table differently, whatever its rows hold. It is
// permanent.
type disagreement struct{ table, reason, remedy string }

func differs(err error) bool {
	_, ok := errors.AsType[*disagreement](err)
	return ok
}

func (d *disagreement) Error() string {
	return fmt.Sprintf("table %s at the target: %s; %s", d.table, d.reason, d.remedy)
}

// wants tells whether the entity's table is to be created, and given columns.
func (o *Options) wants(entity string) (create, evolve bool) {
	if o.Define == nil {
		return false, false
	}
	return o.Define(entity)
}

// agree looks at the schema of a change whose table is there: *disagreement.
func (w *Writer) agree(c *waybill.Change, t *targetTable) error {
	d := w.defs
	if c.Schema == d.last {
		return nil
	}
	if _, evolve := w.opts.wants(c.Entity); !evolve {
		return nil
	}
	if known := d.agreed[c.Entity]; known.table != t || known.schema != c.Schema {
		if err := compareColumns(t, c.Schema); err != nil {
			return err
		}
		former := d.pending[c.Entity]
		if former == nil {
			former = d.latest[c.Entity]
		}
		if former != nil && former != c.Schema {
			if err := followColumns(t, former, c.Schema); err != nil {
				return err
			}
		}
		d.agreed[c.Entity] = agreement{t, c.Schema}
	}
	d.last, d.pending[c.Entity] = c.Schema, c.Schema
	return nil
}

func (t *targetTable) disagree(remedy, reason string, args ...any) *disagreement {
	return &disagreement{table: t.schema + "." + t.name, reason: fmt.Sprintf(reason, args...), remedy: remedy}
}

// compareColumns looks for columns that cannot hold what the source's hold.
func compareColumns(t *targetTable, s *waybill.Schema) error {
	if s.System != "postgres" {
		return nil
	}
	for i := range s.Columns {
		n := t.column(s.Columns[i].Name)
		if n < 0 || t.columns[n].generated {
			continue
		}
		col := &t.columns[n]
		if all, known := sourceColType(&s.Columns[i]).holds(targetColType(col)); known && !all {
			return t.disagree(
				fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s; or evolve: false, so that each value is judged", t.ident(), server.Quote(col.name), s.Columns[i].Type),
				"column %s (%s) cannot hold every value of the source's type %s", col.name, col.shown, s.Columns[i].Type)
		}
	}
	return nil
}

// followColumns looks at what became of the columns since the former schema.
func followColumns(t *targetTable, former, s *waybill.Schema) error {
	for i := range former.Columns {
		old := &former.Columns[i]
		if t.column(old.Name) < 0 {
			continue
		}
		n := slices.IndexFunc(s.Columns, func(c waybill.SchemaColumn) bool { return c.Name == old.Name })
		if n < 0 {
			name := server.Quote(old.Name)
			return t.disagree(
				fmt.Sprintf("ALTER TABLE %[1]s DROP COLUMN %[2]s; or ALTER TABLE %[1]s RENAME COLUMN %[2]s TO …; then start the pipeline again", t.ident(), name),
				"the source has no column %s any more, dropped or renamed", old.Name)
		}
		now := &s.Columns[n]
		if s.System != "postgres" || now.Type == old.Type && now.Base == old.Base {
			continue
		}
		if all, _ := sourceColType(old).holds(sourceColType(now)); !all {
			return t.disagree(
				fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s as at the source; then start the pipeline again", t.ident(), server.Quote(old.Name), now.Type),
				"the source changed the type of column %s from %s to %s, and does not log what that made of the rows that were there", old.Name, old.Type, now.Type)
		}
	}
	return nil
}

// define makes the table of a refused change, or gives it columns, where that is why it was
// refused and is wanted, and tells whether it did. It runs in a transaction of its own and may run
// again: a kill after it leaves tables that are empty, or columns that are null.
func (w *Writer) define(ctx context.Context, e *refusedError) (done bool, err error) {
	c := e.in
	if c == nil || c.Schema == nil && w.opts.Describe == nil {
		return false, nil
	}
	create, evolve := w.opts.wants(c.Entity)
	if !create && !evolve {
		return false, nil
	}
	schema, name := w.schema.place(c.Entity)
	if reserved(schema, name) != "" {
		return false, nil
	}
	t, err := w.schema.load(ctx, w.link.conn, c.Entity)
	if err != nil {
		return false, err
	}
	if e.cured(t) {
		w.forgetTables()
		return true, nil
	}
	d, untyped := &definition{w: w, s: c.Schema, table: &targetTable{schema: schema, name: name}}, ""
	if d.s == nil {
		d.s, untyped = w.opts.Describe(c)
	}
	switch {
	case t == nil && create && untyped == "":
		err = d.create(ctx)
	case t != nil && evolve:
		d.table = t
		d.add(c)
		err = d.renamed(c)
	}
	if untyped != "" && len(d.sql) == 0 && (t == nil && create || t != nil && evolve && e.noColumn != "") {
		e.remedy += "; or " + untyped
	}
	if err != nil || len(d.sql) == 0 {
		return false, err
	}
	if err := d.run(ctx); err != nil {
		return false, err
	}
	w.forgetTables()
	return true, d.verify(ctx, c)
}

// definition is a change of one table's definition.
type definition struct {
	w     *Writer
	s     *waybill.Schema
	table *targetTable
	types []*waybill.SchemaColumn // whose types the target must have
	sql   []string
}

// create writes the statements that make the table.
func (d *definition) create(ctx context.Context) error {
	var parts []string
	for i := range d.s.Columns {
		col := &d.s.Columns[i]
		d.types = append(d.types, col)
		part := server.Quote(col.Name) + " " + typeFrom(d.s, col)
		if col.NotNull {
			part += " NOT NULL"
		}
		parts = append(parts, part)
	}
	if len(d.s.Key) > 0 {
		parts = append(parts, "PRIMARY KEY ("+quotedNames(d.s.Key)+")")
	}
	for _, u := range d.s.Unique {
		parts = append(parts, "UNIQUE ("+quotedNames(u)+")")
	}
	for i := range d.s.Foreign {
		f := &d.s.Foreign[i]
		parent, err := d.referable(ctx, f)
		if err != nil {
			return err
		}
		if parent != "" { // deferrable: the rows of an action come in any order
			parts = append(parts, fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s) DEFERRABLE", quotedNames(f.Columns), parent, quotedNames(f.References)))
		}
	}
	var there bool
	err := d.w.link.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", d.table.schema).Scan(&there)
	if err != nil {
		return server.Classify(err, "look for schema "+d.table.schema+" at the target")
	}
	if !there {
		d.sql = append(d.sql, "CREATE SCHEMA IF NOT EXISTS "+server.Quote(d.table.schema))
	}
	d.sql = append(d.sql, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n\t%s\n)", d.table.ident(), strings.Join(parts, ",\n\t")))
	return nil
}

// referable is the table that a foreign key points at, "" where the target has none with those
// columns unique.
func (d *definition) referable(ctx context.Context, f *waybill.ForeignKey) (string, error) {
	schema, name := d.w.schema.place(f.Entity)
	if schema == d.table.schema && name == d.table.name {
		want := slices.Sorted(slices.Values(f.References))
		same := func(key []string) bool { return slices.Equal(want, slices.Sorted(slices.Values(key))) }
		if same(d.s.Key) || slices.ContainsFunc(d.s.Unique, same) {
			return d.table.ident(), nil
		}
		return "", nil
	}
	parent, err := d.w.schema.load(ctx, d.w.link.conn, f.Entity)
	if err != nil || parent == nil || parent.kind != "r" && parent.kind != "p" {
		return "", err
	}
	var columns []int
	for _, name := range f.References {
		columns = append(columns, parent.column(name))
	}
	slices.Sort(columns)
	if u := parent.unique(columns); u == nil || u.deferrable {
		return "", nil
	}
	return parent.ident(), nil
}

// add writes the statements for the columns that a change carries and the table lacks. They are
// nullable: the rows that are there have no value for them.
func (d *definition) add(c *waybill.Change) {
	for i := range d.s.Columns {
		col := &d.s.Columns[i]
		_, inKey := c.Key.Get(col.Name)
		_, inRow := c.Row.Get(col.Name)
		if (inKey || inRow) && d.table.column(col.Name) < 0 {
			d.types = append(d.types, col)
			d.sql = append(d.sql, fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s %s", d.table.ident(), server.Quote(col.Name), typeFrom(d.s, col)))
		}
	}
}

// renamed refuses to add columns to a table with one that the source does not have and that fills
// itself with nulls only: one of the new may be that one under another name. A run that saw it before
// says so by itself (followColumns); this holds after a restart, too.
func (d *definition) renamed(c *waybill.Change) error {
	if len(d.sql) == 0 || c.Schema == nil {
		return nil
	}
	for i := range d.table.columns {
		col := &d.table.columns[i]
		_, inKey := c.Key.Get(col.name)
		_, inRow := c.Row.Get(col.name)
		atSource := slices.ContainsFunc(d.s.Columns, func(s waybill.SchemaColumn) bool { return s.Name == col.name })
		if atSource || inKey || inRow || col.notNull || col.hasDefault || col.generated {
			continue
		}
		return d.table.disagree(
			fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s; or, if it is another: %s; then start the pipeline again",
				d.table.ident(), server.Quote(col.name), server.Quote(d.types[0].Name), d.sql[0]),
			"the source has a column %s that it lacks, and it has a column %s that the source lacks: it may have been renamed there", d.types[0].Name, col.name)
	}
	return nil
}

// run carries the statements out, if the stream is still this worker's.
func (d *definition) run(ctx context.Context) error {
	w := d.w
	tx, err := w.link.conn.Begin(ctx)
	if err != nil {
		return server.Classify(err, "define a table at the target")
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	doing := fmt.Sprintf("define table %s.%s at the target", d.table.schema, d.table.name)
	// The types' names are as the source shows them to a session that sees public.
	_, err = tx.Exec(ctx, `SELECT set_config('search_path', quote_ident($1) || ', public', true), set_config('lock_timeout', $2, true), pg_advisory_xact_lock($3)`,
		d.table.schema, ddlPatience, int64(server.SchemaLock))
	if err != nil {
		return server.Classify(err, doing)
	}
	var ours bool
	err = tx.QueryRow(ctx, "SELECT true FROM waybill.position WHERE stream = $1 AND epoch = $2 FOR UPDATE", w.stream, w.epoch).Scan(&ours)
	if errors.Is(err, pgx.ErrNoRows) {
		_ = tx.Rollback(ctx)
		return w.fenced()
	}
	if err != nil {
		return server.Classify(err, doing)
	}
	for _, col := range d.types {
		if err := d.knows(ctx, tx, col); err != nil {
			return err
		}
	}
	for _, sql := range d.sql {
		w.log.Info("defining a table at the target", "stream", w.stream, "sql", sql)
		if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return d.explain(err, doing)
		}
	}
	return server.Classify(tx.Commit(ctx), doing)
}

// knows looks whether the target has the type of a column. What it reads as a type can be put into a
// statement.
func (d *definition) knows(ctx context.Context, tx pgx.Tx, col *waybill.SchemaColumn) error {
	name := typeFrom(d.s, col)
	there := false
	if !strings.ContainsAny(name, ";\n\r") && !strings.Contains(name, "--") && !strings.Contains(name, "/*") {
		err := tx.QueryRow(ctx, "SELECT to_regtype($1) IS NOT NULL", name).Scan(&there)
		var pe *pgconn.PgError
		if err != nil && !errors.As(err, &pe) {
			return server.Classify(err, "look for a type at the target")
		}
	}
	if there {
		return nil
	}
	return d.table.disagree("create the type as the source has it (CREATE TYPE, CREATE DOMAIN, CREATE EXTENSION), or name another one under `types` in the mapping",
		"column %s has type %s at the source, which the target does not have", col.Name, col.Type)
}

// explain names the privilege that is missing, or says what the server does not take.
func (d *definition) explain(err error, doing string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return server.Classify(err, doing)
	}
	role := server.Quote(d.w.link.conn.Config().User)
	switch {
	case pe.Code == "42501" && strings.HasPrefix(d.sql[0], "CREATE SCHEMA"):
		return server.Explain(fmt.Sprintf("%s: %s; run as a superuser: CREATE SCHEMA %s AUTHORIZATION %s;", doing, pe.Message, server.Quote(d.table.schema), role), err)
	case pe.Code == "42501" && d.table.oid == 0:
		return server.Explain(fmt.Sprintf("%s: %s; run as its owner: GRANT USAGE, CREATE ON SCHEMA %s TO %s; (and REFERENCES on the tables that it refers to), or create the table",
			doing, pe.Message, server.Quote(d.table.schema), role), err)
	case pe.Code == "42501":
		return server.Explain(fmt.Sprintf("%s: %s; run as its owner: %s;", doing, pe.Message, strings.Join(d.sql, "; ")), err)
	case strings.HasPrefix(pe.Code, "42"), strings.HasPrefix(pe.Code, "0A"):
		return d.table.disagree("make it by hand", "it cannot be made like the source's: %s", pe.Message)
	}
	return server.Classify(err, doing)
}

// verify looks whether the statements did what they should: IF NOT EXISTS is silent where something
// else has the name.
func (d *definition) verify(ctx context.Context, c *waybill.Change) error {
	t, err := d.w.schema.load(ctx, d.w.link.conn, c.Entity)
	if err != nil {
		return err
	}
	if t == nil {
		return d.table.disagree("rename it, or give the entity another table with `to` in the mapping", "something else has its name")
	}
	d.table, d.sql = t, nil
	_, evolve := d.w.opts.wants(c.Entity)
	if d.add(c); len(d.sql) > 0 && evolve {
		return t.disagree("add the columns that the source has", "it lacks columns that were just added")
	}
	return nil
}

func quotedNames(names []string) string {
	quoted := make([]string, len(names))
	for i := range names {
		quoted[i] = server.Quote(names[i])
	}
	return strings.Join(quoted, ", ")
}
