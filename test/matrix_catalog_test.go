package test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// prepare makes the types of the user's own, and the extensions that the server has.
func (m *matrix) prepare(conn *pgx.Conn) {
	m.t.Helper()
	m.exec(conn, ownTypesSQL)
	for _, name := range m.list(conn, "select name::text from pg_available_extensions order by 1") {
		if extensions[name] != nil {
			m.exec(conn, "create extension "+name)
		}
	}
}

const catalogSQL = `
select t.typname::text, quote_ident(t.typname), t.typtype::text, coalesce(e.typname::text, ''), coalesce(e.typdelim::text, ','),
  coalesce((select r.typname::text from pg_range g join pg_type r on r.oid = g.rngtypid where t.typtype = 'm' and g.rngmultitypid = t.oid), '')
from pg_type t left join pg_type e on e.oid = t.typelem and t.typcategory = 'A' and t.typlen = -1 and t.typsubscript = 'array_subscript_handler'::regproc
  and t.typname not in ('int2vector', 'oidvector')
where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype in ('b', 'r', 'm') and coalesce(e.typtype, 'b') not in ('c', 'p')
order by e.oid is not null, t.typtype desc, t.oid`

// enumerate finds the types: all that the catalog has and a column can be of, types with
// modifiers, those of the user, and those of extensions.
func (m *matrix) enumerate() {
	m.t.Helper()
	m.prepare(m.conn)
	rows, err := m.conn.Query(context.Background(), catalogSQL)
	if err != nil {
		m.t.Fatal(err)
	}
	defer rows.Close()
	known := map[string]*matrixType{}
	for rows.Next() {
		var name, quoted, kind, element, delimiter, rangeName string
		if err := rows.Scan(&name, &quoted, &kind, &element, &delimiter, &rangeName); err != nil {
			m.t.Fatal(err)
		}
		c := &matrixType{name: "pg_catalog." + quoted, tag: name, literals: baseLiterals[name], binary: !readAsText[name]}
		if more := laterLiterals[name]; more.since > 0 && m.major >= more.since {
			c.literals = slices.Concat(c.literals, more.literals)
		}
		switch {
		case element != "":
			c.literals, c.binary = arrayLiterals(known[element].literals, delimiter), known[element].binary
			if element == "json" { // white space around documents is not kept within JSON, see compareRows
				trimmed := slices.Clone(known[element].literals)
				for i := range trimmed {
					trimmed[i] = strings.TrimSpace(trimmed[i])
				}
				c.literals = arrayLiterals(trimmed, delimiter)
			}
		case kind == "m":
			c.literals = multirangeLiterals(known[rangeName].literals)
		}
		if len(c.literals) == 0 && !notStorable[name] {
			m.t.Errorf("type %s of the catalog is new here: give it literals, or say why it cannot be stored", name)
		}
		known[name] = c
		m.types = append(m.types, *c)
	}
	if err := rows.Err(); err != nil {
		m.t.Fatal(err)
	}
	for name := range baseLiterals {
		if known[name] == nil {
			m.t.Errorf("the catalog has no type %s", name)
		}
	}
	m.types = append(m.types, modified...)
	own := slices.Clone(ownTypes)
	there := m.list(m.conn, "select extname::text from pg_extension")
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		if slices.Contains(there, name) {
			own = append(own, extensions[name]...)
		} else {
			m.t.Logf("NOT TESTED: types of extension %s, which PostgreSQL %d lacks here", name, m.major)
		}
	}
	for _, c := range own {
		delimiter := ","
		m.types = append(m.types, c, matrixType{
			name: c.name + "[]", tag: strings.TrimSpace("_" + strings.ReplaceAll(c.tag+c.name[:len(c.name)*btoi(c.tag == "")], " ", "_")),
			literals: arrayLiterals(c.literals, delimiter), binary: c.binary,
		})
	}
	m.refusedInput()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// refusedInput verifies that what is said not to be storable is not.
func (m *matrix) refusedInput() {
	m.t.Helper()
	for name := range notStorable {
		_, err := m.conn.Exec(context.Background(), "select '1'::"+name)
		if err == nil || !strings.Contains(err.Error(), "(SQLSTATE 0A000)") {
			m.t.Errorf("type %s is said to be the server's own; its input function says %v", name, err)
		}
	}
}

// arrayLiterals makes arrays of the elements: all of them, none, of two and three dimensions, with
// other lower bounds, with nulls.
func arrayLiterals(elements []string, delimiter string) []string {
	if len(elements) == 0 { // of the server's own
		return []string{"{}", "{NULL}"}
	}
	var some []string
	for _, e := range elements {
		if len(e) < 3000 {
			some = append(some, quoteElement(e))
		}
	}
	at := func(i int) string { return some[i%len(some)] }
	join := func(parts ...string) string { return "{" + strings.Join(parts, delimiter) + "}" }
	all := slices.Insert(slices.Clone(some), len(some)/2, "NULL")
	return []string{
		join(all...), "{}", join("NULL"), join(at(1)),
		join(join(at(0), at(1)), join("NULL", at(2))),
		join(join(join(at(2), at(3), at(4))), join(join(at(1), "null", at(0)))),
		"[-1:0]=" + join(at(0), at(1)), "[7:7]=" + join(at(2)),
		"[0:1][-2147483648:-2147483647]=" + join(join(at(1), at(2)), join(at(3), "NULL")),
	}
}

func quoteElement(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// multirangeLiterals makes multiranges of ranges.
func multirangeLiterals(ranges []string) []string {
	all := []string{"{}"}
	for _, r := range ranges {
		if r != "empty" {
			all = append(all, "{"+r+"}")
		}
	}
	return append(all, "{"+strings.Join(ranges[1:3], ",")+"}")
}

// layOut places the types in tables.
func (m *matrix) layOut() {
	m.t.Helper()
	for _, schema := range []string{"bin", "txt"} {
		var all, keys []matrixType
		for _, c := range m.types {
			if c.binary != (schema == "bin") {
				continue
			}
			all = append(all, c)
			c.literals = short(c.literals)
			if len(c.literals) > 0 && m.hasOrder(&c) {
				keys = append(keys, c)
			}
		}
		m.place(schema, plainTable, all)
		m.place(schema, keyTable, keys)
	}
}

// short leaves out what an index has no room for, and all but a few of many.
func short(literals []string) []string {
	var out []string
	for _, s := range literals {
		if len(s) < 250 {
			out = append(out, s)
		}
	}
	return out
}

// hasOrder tells whether values of a type can be in a primary key.
func (m *matrix) hasOrder(c *matrixType) bool {
	sql := fmt.Sprintf("select x from (values (%s), (%s)) v (x) order by x", c.literal(0), c.literal(1))
	_, err := m.conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
	return err == nil
}

func (m *matrix) place(schema string, kind tableKind, types []matrixType) {
	number := 0
	for group := range slices.Chunk(types, matrixWidth[kind]) {
		number++
		table := matrixTable{name: schema + "." + schema + "_" + string(kind) + strconv.Itoa(number), kind: kind, columns: group, full: number%2 == 0}
		for i := range group {
			n := len(group[i].literals)
			if kind == plainTable {
				n++ // a row of nulls
			}
			table.rows = max(table.rows, n)
		}
		m.tables = append(m.tables, table)
	}
}
