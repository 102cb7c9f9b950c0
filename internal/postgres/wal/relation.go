package wal

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// catalog describes relations: what the log says of them, and what only the system tables know.
type catalog struct {
	side   *side
	tables []string
	outbox bool
	binary bool
	types  map[typeKey]*columnType
}

type typeKey struct {
	oid      uint32
	modifier int32
}

// columnType is a type with its encodings, and the built-in type it is read as.
type columnType struct {
	text, binary *pgvalue.Encoding
	base         string
}

// describe makes a relation of the log's description; before is the version until now, or nil.
func (c *catalog) describe(ctx context.Context, m *pgoutput.Relation, before *relation) (*relation, error) {
	r := &relation{message: *m}
	r.message.Columns = slices.Clone(m.Columns)
	if before != nil && !before.foreign {
		if err := sameTable(&before.message, &r.message); err != nil {
			return nil, err
		}
	}
	if m.Namespace == "waybill" {
		if c.outbox && strings.HasPrefix(m.Name, "outbox") && !strings.HasPrefix(m.Name, "outbox_order") {
			return r, r.findOutbox()
		}
		r.foreign = true
		return r, nil
	}
	if c.outbox {
		r.foreign = true
		return r, nil
	}
	err := c.side.do(ctx, func(conn *sideConn) error { return c.look(ctx, conn, r) })
	if err != nil {
		return nil, server.Classify(err, fmt.Sprintf("look at table %s.%s", m.Namespace, m.Name))
	}
	if c.binary && !r.foreign {
		for _, e := range r.binary {
			if !e.HasBinary() {
				return nil, errTextWanted
			}
		}
	}
	return r, nil
}

// sameTable refuses what cannot be told from a column or table that was renamed.
func sameTable(before, now *pgoutput.Relation) error {
	if before.Namespace != now.Namespace || before.Name != now.Name {
		return fmt.Errorf("table %s.%s was renamed to %s.%s at the source: rename it at the target and in the configuration "+
			"(or rename it back), then start the pipeline again", before.Namespace, before.Name, now.Namespace, now.Name)
	}
	gone, added := missing(before.Columns, now.Columns), missing(now.Columns, before.Columns)
	if len(gone) > 0 && len(added) > 0 {
		return fmt.Errorf("in table %s.%s column %s went and column %s came at the source, which may be a column renamed: "+
			"do the same at the target, then start the pipeline again", now.Namespace, now.Name, strings.Join(gone, ", "), strings.Join(added, ", "))
	}
	return nil
}

// missing are the columns of a that b has not.
func missing(a, b []pgoutput.RelationColumn) []string {
	var names []string
	for i := range a {
		if !slices.ContainsFunc(b, func(c pgoutput.RelationColumn) bool { return c.Name == a[i].Name }) {
			names = append(names, a[i].Name)
		}
	}
	return names
}

const (
	ancestorsSQL = `select n.nspname || '.' || c.relname from pg_partition_ancestors($1::oid) a (id)
  join pg_class c on c.oid = a.id join pg_namespace n on n.oid = c.relnamespace`
	notNullSQL = `select attname::text from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped and attnotnull`
	keysSQL    = `select i.indisprimary, array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k (n, o)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n where k.o <= i.indnkeyatts order by k.o)
  from pg_index i where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
  order by i.indisprimary desc, i.indexrelid`
	// partialSQL: replica identity full is not handed down to the partitions, which decide what the log
	// holds of an old row.
	partialSQL = `select exists (select from pg_partition_tree($1::oid::regclass) p join pg_class c on c.oid = p.relid
  where p.isleaf and c.relreplident <> 'f')`
	foreignSQL = `select n.nspname || '.' || f.relname,
    array(select a.attname::text from unnest(c.conkey) with ordinality k (n, o)
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n order by k.o),
    array(select a.attname::text from unnest(c.confkey) with ordinality k (n, o)
      join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.n order by k.o)
  from pg_constraint c join pg_class f on f.oid = c.confrelid join pg_namespace n on n.oid = f.relnamespace
  where c.conrelid = $1 and c.contype = 'f' and (c.conparentid = 0 or not f.relispartition) order by c.oid`
)

// look completes r by what the system tables say now; where the table is gone, that is nothing.
func (c *catalog) look(ctx context.Context, conn *sideConn, r *relation) error {
	m := &r.message
	names, err := column[string](ctx, conn, ancestorsSQL, m.ID)
	if err != nil {
		return err
	}
	names = append(names, m.Namespace+"."+m.Name)
	if len(c.tables) > 0 && !slices.ContainsFunc(names, func(n string) bool { return matches(c.tables, n) }) {
		r.foreign = true
		return nil
	}
	s := &waybill.Schema{Entity: m.Namespace + "." + m.Name, System: "postgres"}
	notNull, err := column[string](ctx, conn, notNullSQL, m.ID)
	if err != nil {
		return err
	}
	for i := range m.Columns {
		col := &m.Columns[i]
		t, err := c.typeOf(ctx, conn, col.Type, col.Modifier)
		if err != nil {
			return err
		}
		r.text, r.binary = append(r.text, t.text), append(r.binary, t.binary)
		s.Columns = append(s.Columns, waybill.SchemaColumn{
			Name: col.Name, Type: t.text.Name, Base: t.base, NotNull: slices.Contains(notNull, col.Name),
		})
	}
	if err := c.keys(ctx, conn, r, s); err != nil {
		return err
	}
	if m.Identity == 'f' {
		partial, err := column[bool](ctx, conn, partialSQL, m.ID)
		if err != nil {
			return err
		}
		r.partial = len(partial) > 0 && partial[0]
	}
	rows, err := conn.Query(ctx, foreignSQL, m.ID)
	if err != nil {
		return err
	}
	s.Foreign, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (f waybill.ForeignKey, err error) {
		err = row.Scan(&f.Entity, &f.Columns, &f.References)
		return f, err
	})
	s.Foreign = slices.DeleteFunc(s.Foreign, func(f waybill.ForeignKey) bool { return !r.has(f.Columns) })
	r.schema = s
	return err
}

// keys finds the key and the unique keys.
func (c *catalog) keys(ctx context.Context, conn *sideConn, r *relation, s *waybill.Schema) error {
	m := &r.message
	if m.Identity == 'd' || m.Identity == 'i' {
		for i := range m.Columns {
			if m.Columns[i].Key {
				r.key = append(r.key, i)
				s.Key = append(s.Key, m.Columns[i].Name)
			}
		}
	}
	rows, err := conn.Query(ctx, keysSQL, m.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			primary bool
			names   []string
		)
		if err := rows.Scan(&primary, &names); err != nil {
			return err
		}
		if !r.has(names) {
			continue
		}
		if primary && len(r.key) == 0 {
			s.Key = names
			for _, name := range names {
				r.key = append(r.key, slices.IndexFunc(m.Columns, func(col pgoutput.RelationColumn) bool { return col.Name == name }))
			}
		} else if !sameSet(names, s.Key) {
			s.Unique = append(s.Unique, names)
		}
	}
	return rows.Err()
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(n string) bool { return !slices.Contains(b, n) })
}

func (r *relation) has(names []string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(r.message.Columns, func(c pgoutput.RelationColumn) bool { return c.Name == name }) {
			return false
		}
	}
	return true
}

func column[T any](ctx context.Context, conn *sideConn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// matches tells whether a table is one of those that the patterns mean. A pattern without a schema
// means one in public.
func matches(patterns []string, table string) bool {
	for _, p := range patterns {
		if !strings.Contains(p, ".") {
			p = "public." + p
		}
		if ok, err := path.Match(p, table); ok && err == nil || p == table {
			return true
		}
	}
	return false
}

// firstUserOID is where OIDs begin that are not built in.
const firstUserOID = 16384

const typeSQL = `select t.typtype::text, t.typbasetype, t.typtypmod,
  case when t.typcategory = 'A' and t.typlen = -1 and t.oid not in (22, 30) then t.typelem else 0::oid end,
  coalesce((select e.typdelim::text from pg_type e where e.oid = t.typelem), ','), format_type(t.oid, $2),
  coalesce((select r.rngsubtype from pg_range r where r.rngtypid = t.oid), %s, 0::oid)
from pg_type t where t.oid = $1`

// typeOf reads a type, with what it is made of.
func (c *catalog) typeOf(ctx context.Context, conn *sideConn, oid uint32, modifier int32) (*columnType, error) {
	key := typeKey{oid, modifier}
	if t := c.types[key]; t != nil {
		return t, nil
	}
	multi := `(select r.rngtypid from pg_range r where r.rngmultitypid = t.oid)`
	if conn.identity.Version < 140000 {
		multi = "0::oid"
	}
	var (
		kind, delimiter, name   string
		under, element, rangeOf uint32
		underModifier           int32
	)
	err := conn.QueryRow(ctx, fmt.Sprintf(typeSQL, multi), oid, modifier).
		Scan(&kind, &under, &underModifier, &element, &delimiter, &name, &rangeOf)
	if errors.Is(err, pgx.ErrNoRows) { // dropped since
		kind, name, err = "b", fmt.Sprintf("type %d", oid), nil
	}
	if err != nil {
		return nil, err
	}
	t := &pgvalue.Type{OID: oid, Under: oid, Name: name, Modifier: modifier}
	out := &columnType{text: &pgvalue.Encoding{Type: t}, binary: &pgvalue.Encoding{Type: t, Binary: true}}
	if oid >= firstUserOID {
		out.base = "text"
	}
	switch {
	case kind == "d":
		d, err := c.typeOf(ctx, conn, under, underModifier)
		if err != nil {
			return nil, err
		}
		*t = *d.text.Type
		t.OID, t.Name = oid, name
		if out.base = d.base; out.base == "" {
			out.base = d.text.Name
		}
	case element != 0:
		err = c.element(ctx, conn, out, pgvalue.Array, element, modifier, "[]")
		t.Delimiter = delimiter[0]
	case kind == "e":
		t.Kind = pgvalue.Enum
	case kind == "r":
		err = c.element(ctx, conn, out, pgvalue.Range, rangeOf, -1, "")
	case kind == "m":
		err = c.element(ctx, conn, out, pgvalue.Multirange, rangeOf, -1, "")
	case kind == "c":
		t.Kind = pgvalue.Composite
	}
	if err != nil {
		return nil, err
	}
	*t = *pgvalue.New(t.OID, t.Under, t.Name, t.Modifier, t.Kind, t.Element, t.Delimiter)
	if c.types == nil {
		c.types = map[typeKey]*columnType{}
	}
	c.types[key] = out
	return out, nil
}

// element completes a type that is made of another. suffix makes the base of an array.
func (c *catalog) element(ctx context.Context, conn *sideConn, t *columnType, kind pgvalue.Kind, oid uint32, modifier int32, suffix string) error {
	e, err := c.typeOf(ctx, conn, oid, modifier)
	if err != nil {
		return err
	}
	t.text.Kind, t.text.Element = kind, e.text.Type
	if t.base != "" && suffix != "" {
		base := e.base
		if base == "" {
			base = e.text.Name
		}
		t.base = base + suffix
	}
	return nil
}
