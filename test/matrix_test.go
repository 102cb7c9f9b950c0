package test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill/internal/testenv"
)

// matrixType is a type with values of it.
type matrixType struct {
	name     string // as DDL has it
	tag      string // names its columns; empty: name
	literals []string
	binary   bool // the reader has it in binary, if it has everything so
}

// matrixTable is a table of the source. Its first column is a number that stays the same.
type matrixTable struct {
	name    string // with its schema
	kind    tableKind
	columns []matrixType
	rows    int // that it begins with
	full    bool
}

// tableKind is what the types of a table are there.
type tableKind byte

const (
	plainTable tableKind = 'w' // columns beside the primary key; every other one with replica identity full
	keyTable   tableKind = 'k' // part of the primary key
)

// matrixWidth is how many types a table of a kind has.
var matrixWidth = map[tableKind]int{plainTable: 24, keyTable: 8}

// matrix is a source with values of every type that it has, and targets.
type matrix struct {
	t       *testing.T
	major   int
	dir     string
	source  string // URL
	conn    *pgx.Conn
	types   []matrixType
	tables  []matrixTable
	targets []*matrixTarget
	cells   int // compared
}

// matrixTarget is a target of one of the pipelines.
type matrixTarget struct {
	pipeline, name string
	url, schema    string // PostgreSQL
	path           string // SQLite
	textual        bool   // it gets the tables whose types are read as text, too
	conn           *pgx.Conn
	db             *sql.DB
}

// TestEveryType carries values of every type that the server's catalog has, of types of the user's
// own, and of extensions, in binary, in text, and through a queue, to tables that are made for them
// and tables that are there; and compares what the servers say of them.
func TestEveryType(t *testing.T) {
	testenv.EachVersion(t, func(t *testing.T, major int) {
		t.Parallel()
		m := &matrix{t: t, major: major, dir: t.TempDir(), source: testenv.PostgresVersion(t, major).URL}
		m.hostile(m.source)
		m.conn = m.connect(m.source)
		m.enumerate()
		m.layOut()
		m.create(m.conn, "")
		m.exec(m.conn, `create table bin.done (n int primary key); create table txt.done_too (n int primary key);
			create table bin.null_document (n int primary key, doc jsonb)`)
		config := m.configure()
		for _, name := range []string{"types_binary", "types_text", "types_queue"} {
			start(t, "", "outbox", "install", name, "-f", config).want(0)
		}
		m.insert()
		e := start(t, "", "run", "-f", config)
		m.arrives(e, 1)
		m.readsBinary()
		m.compare("inserted")
		m.update()
		m.arrives(e, 2)
		m.compare("updated")
		m.refuses(e)
		e.signal(sigterm)
		if code := e.end(); code != 1 && code != 128+int(sigterm) { // some pipelines have stopped
			m.fatal(e, "waybill ended with %d", code)
		}
		m.noForeignWrites()
		t.Logf("%d types, %d tables, %d targets: %d values compared", len(m.types), len(m.tables), len(m.targets), m.cells)
	})
}

// hostile gives a database settings that change how values are written or read: what a session does
// not set for itself comes out wrong.
func (m *matrix) hostile(url string) {
	m.t.Helper()
	testenv.Exec(m.t, url, `create schema elsewhere; do $$
declare s text;
begin
  foreach s in array array['DateStyle = "SQL, DMY"', 'TimeZone = "Asia/Kathmandu"', 'IntervalStyle = sql_standard', 'extra_float_digits = -15',
    'bytea_output = escape', 'xmloption = document', 'array_nulls = off', 'standard_conforming_strings = off', 'backslash_quote = off',
    'escape_string_warning = off', 'search_path = elsewhere, pg_catalog', 'quote_all_identifiers = on', 'default_text_search_config = "german"',
    'check_function_bodies = off', 'default_transaction_deferrable = on', 'transform_null_equals = on'] loop
    execute format('alter database %I set %s', current_database(), s);
  end loop;
end $$`)
}

func (m *matrix) connect(url string) *pgx.Conn {
	m.t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		m.t.Fatal(err)
	}
	maps.Copy(config.RuntimeParams, map[string]string{
		"DateStyle": "ISO", "TimeZone": "UTC", "IntervalStyle": "postgres", "extra_float_digits": "3", "bytea_output": "hex",
		"xmloption": "content", "array_nulls": "on", "standard_conforming_strings": "on", "search_path": "public", "quote_all_identifiers": "off",
	})
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (m *matrix) exec(conn *pgx.Conn, sql string) {
	m.t.Helper()
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		m.t.Fatalf("%.300s: %v", sql, err)
	}
}

// list is a query's rows of one text column.
func (m *matrix) list(conn *pgx.Conn, sql string, args ...any) []string {
	m.t.Helper()
	rows, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		m.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		m.t.Fatalf("%s: %v", sql, err)
	}
	return all
}

// fatal fails with what the engine printed last.
func (m *matrix) fatal(e *engine, format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), e.tail())
}

// arrives waits until every target has what was committed before done was told the number.
func (m *matrix) arrives(e *engine, n int) {
	m.t.Helper()
	m.exec(m.conn, fmt.Sprintf("insert into bin.done values (%d); insert into txt.done_too values (%[1]d)", n))
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	for _, target := range m.targets {
		for !m.holds(target, n) {
			if e.ended() || ctx.Err() != nil || strings.Contains(e.out.String(), `msg="pipeline stopped"`) {
				m.fatal(e, "%s/%s does not get everything", target.pipeline, target.name)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// refuses commits a value that JSON has no room for: PostgreSQL and SQLite get it, the queue says which
// column it does not take.
func (m *matrix) refuses(e *engine) {
	m.t.Helper()
	m.exec(m.conn, `insert into bin.null_document values (1, 'null')`)
	stopped := func(stream string) bool {
		for line := range strings.Lines(e.out.String()) {
			if strings.Contains(line, `msg="pipeline stopped"`) && strings.Contains(line, "stream="+stream+" ") && strings.Contains(line, "doc") {
				return true
			}
		}
		return false
	}
	for _, x := range m.targets {
		switch {
		case x.pipeline == "types_queue":
			eventually(m.t, "the queue refuses the document null", func() bool { return stopped("types_queue/embedded") })
		case x.path != "":
			query := "select count(*) from null_document where doc = 'null'"
			eventually(m.t, x.pipeline+"/lite has the document null", func() bool { return m.count(x, query) == 1 })
		default:
			query := fmt.Sprintf("select count(*) from %s.null_document where doc = 'null'", x.schema)
			eventually(m.t, x.pipeline+"/"+x.name+" has the document null", func() bool { return m.count(x, query) == 1 })
		}
	}
}

// readsBinary looks whether the tables that can be are read in binary, and the others in text: else
// the matrix would show less than it says.
func (m *matrix) readsBinary() {
	m.t.Helper()
	for _, target := range m.targets {
		if target.pipeline == "types_queue" {
			continue
		}
		slot := target.pipeline + "_" + target.name
		eventually(m.t, fmt.Sprintf("slot %s is read, in binary: %v", slot, !target.textual), func() bool {
			found := m.list(m.conn, `select query from pg_stat_activity where backend_type = 'walsender' and query like '%' || $1 || '%'`, slot)
			return len(found) == 1 && strings.Contains(found[0], "binary 'true'") != target.textual
		})
	}
}

// configure makes the targets and writes the configuration.
func (m *matrix) configure() (path string) {
	m.t.Helper()
	servers := map[int]string{}
	add := func(pipeline, name string, textual bool) {
		x := &matrixTarget{pipeline: pipeline, name: name, schema: pipeline + "_" + name, textual: textual}
		m.targets = append(m.targets, x)
		if name == "lite" {
			x.path = filepath.Join(m.dir, pipeline+".db")
			if err := os.WriteFile(x.path, nil, 0o600); err != nil {
				m.t.Fatal(err)
			}
			return
		}
		major := m.major
		if name == "newer" {
			major = testenv.Newer
		}
		if servers[major] == "" {
			servers[major] = testenv.PostgresVersion(m.t, major).URL
			m.hostile(servers[major])
			m.prepare(m.connect(servers[major]))
		}
		x.url = servers[major]
	}
	add("types_binary", "made", false)
	add("types_text", "made", true)
	add("types_text", "lite", true)
	add("types_queue", "made", true)
	if m.major != testenv.Newer { // the other ways do not depend on the server's version
		add("types_binary", "lite", false)
		add("types_text", "hand", true)
		add("types_queue", "lite", true)
		if testenv.Available(testenv.Newer) {
			add("types_text", "newer", true)
		}
	}
	text := "pipelines:\n"
	for _, p := range []struct{ name, pattern, tables, queue string }{
		{"types_binary", "push", `"bin.*"`, ""},
		{"types_text", "push", `"bin.*", "txt.*"`, ""},
		{"types_queue", "queue", `"bin.*", "txt.*"`, fmt.Sprintf("    queue: {embedded: {dir: %q}}\n", filepath.Join(m.dir, "queue"))},
	} {
		text += fmt.Sprintf("  %s:\n    pattern: %s\n    source: {postgres: {url: %q, capture: changes, tables: [%s]}}\n%s    targets:\n", p.name, p.pattern, m.source, p.tables, p.queue)
		for _, x := range m.targets {
			switch {
			case x.pipeline != p.name:
			case x.path != "":
				text += fmt.Sprintf("      %s: {sqlite: {path: %q}}\n", x.name, x.path)
			default:
				text += fmt.Sprintf("      %s: {postgres: {url: %q, schema: %s}}\n", x.name, x.url, x.schema)
			}
		}
	}
	for _, x := range m.targets {
		if x.name == "hand" {
			m.create(m.connect(x.url), x.schema)
		}
	}
	text += fmt.Sprintf("state: {sqlite: {path: %q}}\nadmin: {listen: \"127.0.0.1:0\"}\n", filepath.Join(m.dir, "state.db"))
	path = filepath.Join(m.dir, "waybill.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// create makes the tables, all in one schema where one is given.
func (m *matrix) create(conn *pgx.Conn, schema string) {
	m.t.Helper()
	var b strings.Builder
	b.WriteString("create schema bin; create schema txt;\n")
	if schema != "" {
		b.Reset()
		b.WriteString("create schema " + schema + ";\n")
	}
	for _, table := range m.tables {
		b.WriteString(table.ddl(table.in(schema)))
	}
	m.exec(conn, b.String())
}

// in is the table's name in a schema, the source's where none is given.
func (x *matrixTable) in(schema string) string {
	if schema == "" {
		return x.name
	}
	return schema + x.name[strings.IndexByte(x.name, '.'):]
}

func (x *matrixTable) ddl(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "create table %s (n int", name)
	key := "n"
	for _, c := range x.columns {
		fmt.Fprintf(&b, ", %s %s", c.column(), c.name)
		key += ", " + c.column()
	}
	switch x.kind {
	case keyTable:
		fmt.Fprintf(&b, ", note int, primary key (%s));\n", key)
	case plainTable:
		b.WriteString(", primary key (n));\n")
		if x.full {
			fmt.Fprintf(&b, "alter table %s replica identity full;\n", name)
		}
	}
	return b.String()
}

func (c *matrixType) column() string {
	tag := c.tag
	if tag == "" {
		tag = strings.NewReplacer(" ", "_", `"`, "", "[]", "_array").Replace(c.name)
	}
	return `"` + "c_" + tag + `"`
}

// literal is the SQL of the column's value in a row.
func (c *matrixType) literal(row int) string {
	if len(c.literals) == 0 {
		return "null"
	}
	return quoteLiteral(c.literals[row%len(c.literals)]) + "::" + c.name
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// insert fills the tables, each in a transaction of its own.
func (m *matrix) insert() {
	m.t.Helper()
	for _, table := range m.tables {
		var b strings.Builder
		b.WriteString("begin;\n")
		for n := range table.rows {
			fmt.Fprintf(&b, "insert into %s values (%d", table.name, n)
			for i := range table.columns {
				b.WriteString(", " + table.value(i, n))
			}
			if table.kind == keyTable {
				fmt.Fprintf(&b, ", %d", n)
			}
			b.WriteString(");\n")
		}
		m.exec(m.conn, b.String()+"commit")
	}
}

// value is the SQL of a column's value in a row.
func (x *matrixTable) value(column, row int) string {
	c := &x.columns[column]
	if x.kind != keyTable && row >= len(c.literals) { // null at least once
		return "null"
	}
	return c.literal(row)
}

// update changes every column alone, and then every key.
func (m *matrix) update() {
	m.t.Helper()
	for _, table := range m.tables {
		var b strings.Builder
		b.WriteString("begin;\n")
		for i := range table.columns {
			c := &table.columns[i]
			if len(c.literals) == 0 {
				continue
			}
			var cases strings.Builder
			for n := range table.rows {
				if v := table.value(i, n); v != "null" {
					fmt.Fprintf(&cases, " when %d then %s", n, c.literal(n+1))
				}
			}
			fmt.Fprintf(&b, "update %s set %s = case n%s end", table.name, c.column(), cases.String())
			if table.kind != keyTable {
				fmt.Fprintf(&b, " where %s is not null", c.column())
			}
			b.WriteString(";\n")
		}
		if table.kind == keyTable {
			fmt.Fprintf(&b, "update %s set note = note + 1000;\n", table.name)
		}
		fmt.Fprintf(&b, "delete from %s where n %% 5 = 3;\n", table.name)
		m.exec(m.conn, b.String()+"commit")
	}
}
