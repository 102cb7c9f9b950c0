package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// cell is a value as a server shows it. Null has neither.
type cell struct {
	text, binary []byte
}

func (c cell) isNull() bool { return c.text == nil }

func (c cell) String() string {
	switch {
	case c.isNull():
		return "null"
	case len(c.text) > 300:
		return fmt.Sprintf("%q… (%d bytes)", c.text[:200], len(c.text))
	}
	return fmt.Sprintf("%q", c.text)
}

// grid is what a table holds: rows by number, columns as they are declared.
type grid struct {
	names []string
	rows  map[string][]cell
}

// sendableSQL is whether each column of a table has a binary format at all, and one that is not the
// number of something that is named in each database, or version, anew.
const sendableSQL = `
select case when a.attname ~ '^c__?reg' or (with recursive d as (select t.oid, t.typtype, t.typbasetype, t.typsend, t.typelem, t.typlen from pg_type t where t.oid = a.atttypid
    union all select t.oid, t.typtype, t.typbasetype, t.typsend, t.typelem, t.typlen from d join pg_type t on t.oid = case d.typtype when 'd' then d.typbasetype else case when d.typlen = -1 then d.typelem else 0 end end)
  select bool_or(typsend = 0) from d) then 'no' else 'yes' end
from pg_attribute a where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`

// read reads a table in both of the server's formats.
func (m *matrix) read(conn *pgx.Conn, table string) grid {
	m.t.Helper()
	ctx := context.Background()
	var formats []int16
	for _, yes := range m.list(conn, sendableSQL, table) {
		formats = append(formats, int16(btoi(yes == "yes")))
	}
	g := grid{rows: map[string][]cell{}}
	sql := "select * from " + table + " order by n"
	text := conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	if text.Err != nil {
		m.t.Fatalf("%s: %v", sql, text.Err)
	}
	raw := conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, formats).Read()
	if raw.Err != nil || len(raw.Rows) != len(text.Rows) {
		m.t.Fatalf("%s: %d and %d rows, %v", sql, len(text.Rows), len(raw.Rows), raw.Err)
	}
	for _, f := range text.FieldDescriptions {
		g.names = append(g.names, f.Name)
	}
	own := m.ownOIDs(conn)
	for i, row := range text.Rows {
		cells := make([]cell, len(row))
		for j := range row {
			cells[j] = cell{row[j], raw.Rows[i][j]}
			if own[text.FieldDescriptions[j].DataTypeOID] != "" {
				cells[j].binary = unnumbered(raw.Rows[i][j], own)
			}
		}
		g.rows[string(row[0])] = cells
	}
	return g
}

// ownOIDs are the types of the user's, which have other numbers in each database.
func (m *matrix) ownOIDs(conn *pgx.Conn) map[uint32]string {
	m.t.Helper()
	rows, err := conn.Query(context.Background(), "select oid, typname::text from pg_type where oid >= 16384")
	if err != nil {
		m.t.Fatal(err)
	}
	own := map[uint32]string{}
	var oid uint32
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&oid, &name}, func() error { own[oid] = name; return nil }); err != nil {
		m.t.Fatal(err)
	}
	return own
}

// unnumbered has names where a value's binary format has numbers of types.
func unnumbered(raw []byte, own map[uint32]string) []byte {
	var out []byte
	for len(raw) > 0 {
		if len(raw) >= 4 {
			if name := own[binary.BigEndian.Uint32(raw)]; name != "" {
				out, raw = append(out, name...), raw[4:]
				continue
			}
		}
		out, raw = append(out, raw[0]), raw[1:]
	}
	return out
}

// compare holds every target against the source, value by value.
func (m *matrix) compare(when string) {
	m.t.Helper()
	conns := map[*matrixTarget]*pgx.Conn{}
	for _, x := range m.targets {
		if x.url != "" {
			conns[x] = m.connect(x.url)
		}
	}
	for i := range m.tables {
		table := &m.tables[i]
		want := m.read(m.conn, table.name)
		if len(want.rows) == 0 {
			m.t.Errorf("%s is empty at the source", table.name)
		}
		for _, x := range m.targets {
			if strings.HasPrefix(table.name, "txt.") && !x.textual {
				continue
			}
			where := fmt.Sprintf("%s at %s/%s, %s", table.name, x.pipeline, x.name, when)
			want := want
			if x.path != "" || x.pipeline == "types_queue" {
				want = asJSON(want)
			}
			if x.path != "" {
				m.compareLite(where, x, table, want)
				continue
			}
			m.compareRows(where, want, m.read(conns[x], table.in(x.schema)))
		}
	}
	for _, conn := range conns {
		_ = conn.Close(context.Background())
	}
}

// asJSON is what is left of values that became JSON on the way: white space around documents is not
// kept, as the documentation says.
func asJSON(g grid) grid {
	at := slices.Index(g.names, "c_json")
	if at < 0 {
		return g
	}
	out := grid{names: g.names, rows: map[string][]cell{}}
	for n, row := range g.rows {
		row = slices.Clone(row)
		row[at] = cell{bytes.TrimSpace(row[at].text), bytes.TrimSpace(row[at].binary)}
		out.rows[n] = row
	}
	return out
}

func (m *matrix) compareRows(where string, want, got grid) {
	m.t.Helper()
	if !slices.Equal(want.names, got.names) {
		m.t.Errorf("%s: columns %v, want %v", where, got.names, want.names)
		return
	}
	if len(want.rows) != len(got.rows) {
		m.t.Errorf("%s: %d rows, want %d", where, len(got.rows), len(want.rows))
	}
	for n, row := range want.rows {
		other, ok := got.rows[n]
		if !ok {
			m.t.Errorf("%s: row %s is missing", where, n)
			continue
		}
		for i := range row {
			m.cells++
			if row[i].isNull() != other[i].isNull() || !bytes.Equal(row[i].text, other[i].text) || !bytes.Equal(row[i].binary, other[i].binary) {
				m.t.Errorf("%s: %s of row %s is %v, want %v", where, want.names[i], n, other[i], row[i])
			}
		}
	}
}

// holds tells whether the target has what was done last.
func (m *matrix) holds(x *matrixTarget, n int) bool {
	m.t.Helper()
	query := "select count(*) from %s where n = " + itoa(n)
	bin, txt := x.schema+".done", x.schema+".done_too"
	if x.path != "" {
		bin, txt = "done", "done_too"
	}
	tables := []string{bin}
	if x.textual {
		tables = append(tables, txt)
	}
	for _, name := range tables {
		if m.count(x, fmt.Sprintf(query, name)) != 1 {
			return false
		}
	}
	return true
}
