package target

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/postgres/server"
)

// targetSchema is what the writer knows of the target's tables. It is filled as tables are
// met, and emptied when a statement shows that a table is another one by now.
type targetSchema struct {
	override string // Options.Schema
	lenient  bool   // facts are applied whatever the target holds
	tables   map[string]*targetTable
	byOID    map[uint32]*targetTable
	refs     []tableRef // every foreign key of the database; nil until loaded
	loaded   bool
	readAt   time.Time
	related  map[[2]uint32]kinship
	shapes   map[string][]*changeShape // by entity
	kinds    map[string]*groupKind
}

// tableRef is a foreign key from child to parent.
type tableRef struct {
	child, parent uint32
	parentCols    []int16
	deferrable    bool
}

// targetTable is a table that an entity is written to.
type targetTable struct {
	oid           uint32
	signature     int64 // as of before the rest was read
	schema, name  string
	kind          string // relkind
	columns       []targetColumn
	uniques       []uniqueKey
	referenced    map[int]bool // columns that foreign keys of other tables point at
	selfReference bool
	// barrier: what order its changes come in, among themselves and beside those of other tables,
	// may be seen (by triggers, rules, partitions written under two names), so they keep it.
	barrier    bool
	deferrable bool // some constraint is checked at commit, or can be
	guards     rowGuards
	// added is how many rows this session gave it since the definition was read, planned how many of
	// them when plans were made anew.
	added, planned int
}

// rowGuards is what may keep single rows of a statement from being written, in silence.
type rowGuards struct {
	insertRule, deleteRule bool
	// writeTrigger: a trigger before each row that is inserted or updated, or a view's or another
	// server's in its place.
	writeTrigger bool
	// routed: such a trigger, at a table that others inherit from, may write the row to one of them.
	routed bool
	// deletes: a trigger, rule or policy, or another server, may leave rows that are deleted.
	deletes bool
}

// targetColumn is a column of a targetTable.
type targetColumn struct {
	name       string
	attnum     int16
	base       uint32 // type, with domains resolved
	typmod     int32
	element    uint32 // of an array type, with domains resolved, else 0
	elementMod int32
	delimiter  byte   // between elements of an array
	cast       string // the base type, quoted, for casts from text
	domain     bool   // the column's own type is a domain
	equals     string // the operator that tells whether values are equal
	shown      string // the type as people know it
	notNull    bool
	hasDefault bool // or identity
	always     bool // GENERATED ALWAYS AS IDENTITY
	generated  bool // GENERATED ALWAYS AS (…) STORED
	plainOrder bool // equal means the same bytes (deterministic collation)
}

// uniqueKey is a unique index or constraint.
type uniqueKey struct {
	name       string
	columns    []int // sorted; nil if partial or on expressions
	touched    []int // all plain columns it has, of a partial one too
	deferrable bool
	primary    bool
}

func newTargetSchema(override string) *targetSchema {
	s := &targetSchema{override: override}
	s.forget()
	return s
}

// forget drops everything, so that it is read again.
func (s *targetSchema) forget() {
	s.tables, s.byOID, s.refs, s.loaded = map[string]*targetTable{}, map[uint32]*targetTable{}, nil, false
	s.readAt = time.Now()
	s.related, s.shapes, s.kinds = map[[2]uint32]kinship{}, map[string][]*changeShape{}, map[string]*groupKind{}
}

// place is the schema and the table that an entity is written to.
func (s *targetSchema) place(entity string) (schema, table string) {
	schema, table, named := strings.Cut(entity, ".")
	if !named {
		schema, table = defaultSchema, entity
	}
	if s.override != "" {
		schema = s.override
	}
	return schema, table
}

// reserved says why no entity is written to a table, "" if one may be. Positions and outboxes are in
// schema waybill, and a role that may write them may often write the catalog too.
func reserved(schema, table string) string {
	switch {
	case schema == "waybill":
		return fmt.Sprintf("table %s.%s belongs to Waybill", schema, table)
	case schema == "information_schema", strings.HasPrefix(schema, "pg_"):
		return fmt.Sprintf("table %s.%s belongs to the server, not to the data", schema, table)
	}
	return ""
}

func (t *targetTable) ident() string { return server.Quote(t.schema) + "." + server.Quote(t.name) }

// column returns the index of the named column, -1 if there is none.
func (t *targetTable) column(name string) int {
	return slices.IndexFunc(t.columns, func(c targetColumn) bool { return c.name == name })
}

// unique finds the unique key of exactly these columns (sorted), preferring one that can be
// used by ON CONFLICT.
func (t *targetTable) unique(columns []int) *uniqueKey {
	var found *uniqueKey
	for i := range t.uniques {
		u := &t.uniques[i]
		if u.columns != nil && slices.Equal(u.columns, columns) && (found == nil || found.deferrable) {
			found = u
		}
	}
	return found
}

// load reads the table of an entity; nil if there is none. The connection must be free.
func (s *targetSchema) load(ctx context.Context, conn *pgx.Conn, entity string) (*targetTable, error) {
	if t := s.tables[entity]; t != nil {
		return t, nil
	}
	schema, name := s.place(entity)
	if reserved(schema, name) != "" {
		return nil, nil
	}
	t, err := s.read(ctx, conn, schema, name)
	if err != nil {
		return nil, server.Classify(err, fmt.Sprintf("read the definition of table %s.%s at the target", schema, name))
	}
	if t == nil {
		return nil, nil
	}
	if same := s.byOID[t.oid]; same != nil {
		t = same
	}
	s.tables[entity], s.byOID[t.oid] = t, t
	return t, nil
}

func (s *targetSchema) read(ctx context.Context, conn *pgx.Conn, schema, name string) (*targetTable, error) {
	t := &targetTable{schema: schema, name: name, referenced: map[int]bool{}}
	rows, err := conn.Query(ctx, tableSQL, schema, name)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (bool, error) {
		return true, row.Scan(&t.oid, &t.signature, &t.kind, &t.barrier, &t.deferrable,
			&t.guards.insertRule, &t.guards.deleteRule, &t.guards.writeTrigger, &t.guards.routed, &t.guards.deletes)
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if err := t.readColumns(ctx, conn); err != nil {
		return nil, err
	}
	if err := t.readUniques(ctx, conn); err != nil {
		return nil, err
	}
	if err := s.readRefs(ctx, conn); err != nil {
		return nil, err
	}
	for _, r := range s.refs {
		if r.parent == t.oid {
			for _, n := range r.parentCols {
				t.referenced[t.byNumber(n)] = true
			}
		}
		if r.parent == t.oid || r.child == t.oid {
			t.selfReference = t.selfReference || r.parent == r.child
			t.deferrable = t.deferrable || r.deferrable
		}
	}
	return t, nil
}

func (t *targetTable) byNumber(n int16) int {
	return slices.IndexFunc(t.columns, func(c targetColumn) bool { return c.attnum == n })
}

// tableSQL: bits of tgtype are 1 each row, 2 before, 4 insert, 8 delete, 16 update, 64 instead.
const tableSQL = `
WITH RECURSIVE c AS (
	SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')
), family(oid) AS (
	SELECT oid FROM c UNION SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
), triggers AS (
	SELECT t.tgrelid, t.tgtype FROM pg_trigger t JOIN family f ON f.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
), rules AS (
	SELECT r.ev_type FROM pg_rewrite r JOIN c ON c.oid = r.ev_class WHERE r.ev_enabled IN ('O', 'A')
)
SELECT c.oid, ` + signature + `, c.relkind::text,
	c.relkind NOT IN ('r', 'p') OR c.relispartition OR c.relhasrules
		OR EXISTS (SELECT FROM triggers t WHERE t.tgrelid = c.oid OR c.relkind = 'p')
		OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid OR i.inhparent = c.oid AND c.relkind <> 'p'),
	EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.condeferrable),
	EXISTS (SELECT FROM rules WHERE ev_type = '3'), EXISTS (SELECT FROM rules WHERE ev_type = '4'),
	c.relkind IN ('v', 'f') OR EXISTS (SELECT FROM triggers WHERE tgtype & 3 = 3 AND tgtype & 20 <> 0),
	c.relkind = 'r' AND EXISTS (SELECT FROM triggers WHERE tgrelid = c.oid AND tgtype & 7 = 7)
		AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
	c.relkind IN ('v', 'f') OR row_security_active(c.oid) OR EXISTS (SELECT FROM rules WHERE ev_type = '4')
		OR EXISTS (SELECT FROM triggers WHERE tgtype & 11 = 11)
FROM c`

const columnSQL = `
SELECT a.attname, a.attnum, b.oid, b.typmod, coalesce(e.oid, 0), coalesce(e.typmod, -1), coalesce((SELECT e.typdelim FROM pg_type e WHERE e.oid = t.typelem), ',')::text,
	quote_ident(tn.nspname) || '.' || quote_ident(t.typname), a.atttypid <> b.oid,
	coalesce((SELECT 'OPERATOR(' || quote_ident(n.nspname) || '.' || o.oprname || ')' FROM pg_opclass k
		JOIN pg_amop p ON p.amopfamily = k.opcfamily AND p.amoplefttype = k.opcintype AND p.amoprighttype = k.opcintype AND p.amopstrategy = 3
		JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
		WHERE k.opcmethod = 403 AND k.opcdefault AND k.opcintype = b.oid AND n.nspname <> 'pg_catalog'), '='),
	format_type(a.atttypid, a.atttypmod),
	a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attidentity = 'a', a.attgenerated <> '',
	coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true)
FROM pg_attribute a
CROSS JOIN LATERAL (
	WITH RECURSIVE d(oid, typmod, typtype) AS (
		SELECT y.oid, a.atttypmod, y.typtype FROM pg_type y WHERE y.oid = a.atttypid
		UNION ALL
		SELECT y.oid, x.typtypmod, y.typtype FROM d JOIN pg_type x ON x.oid = d.oid JOIN pg_type y ON y.oid = x.typbasetype
		WHERE d.typtype = 'd')
	SELECT d.oid, d.typmod FROM d WHERE d.typtype <> 'd') b
JOIN pg_type t ON t.oid = b.oid
JOIN pg_namespace tn ON tn.oid = t.typnamespace
LEFT JOIN LATERAL (
	WITH RECURSIVE d(oid, typmod, typtype) AS (
		SELECT y.oid, b.typmod, y.typtype FROM pg_type y
		WHERE y.oid = t.typelem AND t.typcategory = 'A' AND t.typlen = -1 AND t.typname NOT IN ('int2vector', 'oidvector')
		UNION ALL
		SELECT y.oid, x.typtypmod, y.typtype FROM d JOIN pg_type x ON x.oid = d.oid JOIN pg_type y ON y.oid = x.typbasetype
		WHERE d.typtype = 'd')
	SELECT d.oid, d.typmod FROM d WHERE d.typtype <> 'd') e ON true
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

func (t *targetTable) readColumns(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, columnSQL, t.oid)
	if err != nil {
		return err
	}
	t.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c targetColumn, err error) {
		var delimiter string
		err = row.Scan(&c.name, &c.attnum, &c.base, &c.typmod, &c.element, &c.elementMod, &delimiter, &c.cast, &c.domain, &c.equals, &c.shown,
			&c.notNull, &c.hasDefault, &c.always, &c.generated, &c.plainOrder)
		if delimiter != "" {
			c.delimiter = delimiter[0]
		}
		return c, err
	})
	return err
}

func (t *targetTable) readUniques(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT (SELECT relname FROM pg_class WHERE oid = i.indexrelid), i.indisprimary, NOT i.indimmediate, i.indpred IS NULL AND i.indexprs IS NULL AND i.indisunique AND i.indisvalid,
			ARRAY(SELECT k::int2 FROM unnest(i.indkey) WITH ORDINALITY u(k, n) WHERE n <= i.indnkeyatts AND k > 0)
		FROM pg_index i WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)`, t.oid)
	if err != nil {
		return err
	}
	t.uniques, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (u uniqueKey, err error) {
		var whole bool
		var numbers []int16
		if err := row.Scan(&u.name, &u.primary, &u.deferrable, &whole, &numbers); err != nil {
			return u, err
		}
		for _, n := range numbers {
			u.touched = append(u.touched, t.byNumber(n))
		}
		slices.Sort(u.touched)
		if whole {
			u.columns = u.touched
		}
		return u, nil
	})
	return err
}

func (s *targetSchema) readRefs(ctx context.Context, conn *pgx.Conn) error {
	if s.loaded {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT conrelid, confrelid, confkey, condeferrable FROM pg_constraint WHERE contype = 'f'`)
	if err != nil {
		return err
	}
	s.refs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r tableRef, err error) {
		return r, row.Scan(&r.child, &r.parent, &r.parentCols, &r.deferrable)
	})
	s.loaded = err == nil
	return err
}

// kinship is how two tables are connected by foreign keys, over any number of steps.
type kinship uint8

const (
	strangers  kinship = 0
	descendant kinship = 1 // the first refers to the second
	ancestor   kinship = 2 // the second refers to the first
)

// kin tells how a is connected to b; both bits in a circle.
func (s *targetSchema) kin(a, b *targetTable) kinship {
	if len(s.refs) == 0 || a == b {
		return strangers
	}
	k, ok := s.related[[2]uint32{a.oid, b.oid}]
	if !ok {
		if s.reaches(a.oid, b.oid) {
			k |= descendant
		}
		if s.reaches(b.oid, a.oid) {
			k |= ancestor
		}
		s.related[[2]uint32{a.oid, b.oid}] = k
	}
	return k
}

func (s *targetSchema) reaches(from, to uint32) bool {
	seen := map[uint32]bool{from: true}
	for queue := []uint32{from}; len(queue) > 0; queue = queue[1:] {
		for _, r := range s.refs {
			if r.child == queue[0] && !seen[r.parent] {
				if r.parent == to {
					return true
				}
				seen[r.parent] = true
				queue = append(queue, r.parent)
			}
		}
	}
	return false
}
