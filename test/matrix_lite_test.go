package test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// liteColumn is what docs/tables.md says of a column's type in SQLite.
type liteColumn struct {
	declared string
	family   string // how a value is stored, see matches
	name     string // of the type at the source, for casts
	base     string
}

// liteSQL is the type under the domains of each column of a table, as people know it, and the kind
// of what it is.
const liteSQL = `
select format_type(a.atttypid, a.atttypmod) || '|' || (with recursive d(oid, typmod, typtype) as (
    select t.oid, a.atttypmod, t.typtype from pg_type t where t.oid = a.atttypid
    union all select u.oid, t.typtypmod, u.typtype from d join pg_type t on t.oid = d.oid join pg_type u on u.oid = t.typbasetype where d.typtype = 'd')
  select format_type(d.oid, d.typmod) from d where typtype <> 'd')
from pg_attribute a where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`

func (m *matrix) liteColumns(table string) []liteColumn {
	m.t.Helper()
	var all []liteColumn
	for _, s := range m.list(m.conn, liteSQL, table) {
		var c liteColumn
		c.name, c.base, _ = strings.Cut(s, "|")
		name, args, _ := strings.Cut(c.base, "(")
		var precision, scale int
		_, _ = fmt.Sscanf(args, "%d,%d", &precision, &scale)
		switch {
		case strings.HasSuffix(c.base, "[]"):
			c.declared, c.family = "TEXT", "array"
		case slices.Contains([]string{"smallint", "integer", "bigint", "oid", "xid", "cid"}, name):
			c.declared, c.family = "INTEGER", "integer"
		case name == "real", name == "double precision":
			c.declared, c.family = "REAL", name
		case name == "numeric" && precision > 0 && precision <= 15 && scale <= 300 && precision-scale <= 300:
			c.declared, c.family = "NUMERIC("+args, "number"
		case name == "boolean":
			c.declared, c.family = "BOOLEAN", name
		case name == "bytea":
			c.declared, c.family = "BLOB", name
		case strings.HasPrefix(name, "timestamp") && strings.HasSuffix(c.base, "with time zone"):
			c.declared, c.family = "TEXT", "moment"
		default:
			c.declared, c.family = "TEXT", "text"
		}
		all = append(all, c)
	}
	return all
}

// lite opens a target.
func (m *matrix) lite(x *matrixTarget) *sql.DB {
	m.t.Helper()
	if x.db == nil {
		db, err := sql.Open("sqlite", "file:"+x.path+"?_pragma=busy_timeout(30000)")
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { _ = db.Close() })
		x.db = db
	}
	return x.db
}

// count is a query's number; 0 where there is no such table yet.
func (m *matrix) count(x *matrixTarget, query string) (n int) {
	m.t.Helper()
	ctx := context.Background()
	var err error
	if x.path != "" {
		if err = m.lite(x).QueryRowContext(ctx, query).Scan(&n); err != nil && !strings.Contains(err.Error(), "no such table") {
			m.t.Fatalf("%s: %v", query, err)
		}
		return n
	}
	if x.conn == nil {
		x.conn = m.connect(x.url)
	}
	if err = x.conn.QueryRow(ctx, query).Scan(&n); err != nil && !strings.Contains(err.Error(), "does not exist") {
		m.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// compareLite holds a SQLite target against the documented mapping, and takes values back.
func (m *matrix) compareLite(where string, x *matrixTarget, table *matrixTable, want grid) {
	m.t.Helper()
	columns := m.liteColumns(table.name)
	name := table.name[len("bin."):]
	rows, err := m.lite(x).Query("select * from " + name + " order by n")
	if err != nil {
		m.t.Errorf("%s: %v", where, err)
		return
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil || len(types) != len(columns) {
		m.t.Errorf("%s: %d columns, want %d: %v", where, len(types), len(columns), err)
		return
	}
	for i := range types {
		if got := types[i].DatabaseTypeName(); !strings.EqualFold(got, columns[i].declared) {
			m.t.Errorf("%s: %s (%s) is declared %s, want %s", where, want.names[i], columns[i].name, got, columns[i].declared)
		}
	}
	backs := make([]takenBack, len(columns))
	count := 0
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			m.t.Fatal(err)
		}
		count++
		n := fmt.Sprint(values[0])
		row, ok := want.rows[n]
		if !ok {
			m.t.Errorf("%s: row %s is not at the source", where, n)
			continue
		}
		for i, v := range values {
			m.cells++
			switch {
			case v == nil || row[i].isNull():
				if (v == nil) != row[i].isNull() {
					m.t.Errorf("%s: %s of row %s is %v, want %v", where, want.names[i], n, v, row[i])
				}
			case columns[i].family == "array" || columns[i].family == "moment":
				backs[i].add(n, v, row[i])
			default:
				if why := columns[i].matches(v, string(row[i].text)); why != "" {
					m.t.Errorf("%s: %s of row %s is %T %.200v, want %v: %s", where, want.names[i], n, v, v, row[i], why)
				}
			}
		}
	}
	if err := rows.Err(); err != nil || count != len(want.rows) {
		m.t.Errorf("%s: %d rows, want %d: %v", where, count, len(want.rows), err)
	}
	for i := range backs {
		m.takeBack(where+": "+want.names[i], &columns[i], &backs[i])
	}
}

// matches tells what is wrong with a stored value, empty if nothing.
func (c *liteColumn) matches(v any, text string) string {
	special := text == "NaN" || text == "Infinity" || text == "-Infinity"
	switch c.family {
	case "integer":
		if i, ok := v.(int64); !ok || strconv.FormatInt(i, 10) != text {
			return "not the integer"
		}
	case "real", "double precision":
		if special {
			return same(v, text)
		}
		bits := 64
		if c.family == "real" {
			bits = 32
		}
		f, ok := v.(float64)
		want, err := strconv.ParseFloat(text, bits)
		if errors.Is(err, strconv.ErrRange) {
			err = nil
		}
		if !ok || err != nil || bits == 64 && f != want || bits == 32 && float32(f) != float32(want) {
			return "not the number"
		}
		if f == 0 && math.Signbit(f) {
			return "-0 is said to become 0"
		}
	case "number":
		if special {
			return same(v, text)
		}
		got := fmt.Sprint(v)
		if f, ok := v.(float64); ok {
			got = strconv.FormatFloat(f, 'f', -1, 64)
		}
		x, ok1 := new(big.Rat).SetString(got)
		y, ok2 := new(big.Rat).SetString(text)
		if !ok1 || !ok2 || x.Cmp(y) != 0 {
			return "not the number"
		}
	case "boolean":
		if fmt.Sprint(v) != map[string]string{"t": "1", "f": "0"}[text] && fmt.Sprint(v) != map[string]string{"t": "true", "f": "false"}[text] {
			return "not 1 or 0"
		}
	case "bytea":
		if b, ok := v.([]byte); !ok || `\x`+hex.EncodeToString(b) != text {
			return "not the bytes"
		}
	default:
		return same(v, text)
	}
	return ""
}

func same(v any, text string) string {
	if s, ok := v.(string); !ok || s != text {
		return "not the text"
	}
	return ""
}

// takenBack are values of a column as SQLite has them, which the source's server reads again.
type takenBack struct {
	rows []string
	text []string
	want []cell
}

func (b *takenBack) add(row string, v any, want cell) {
	s, ok := v.(string)
	if !ok {
		s = fmt.Sprintf("%T instead of a string", v)
	}
	b.rows, b.text, b.want = append(b.rows, row), append(b.text, s), append(b.want, want)
}

// rfc3339 is how moments are stored that it has a form for.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

// takeBack has the server read what SQLite has, and compares that with what it was.
func (m *matrix) takeBack(where string, c *liteColumn, b *takenBack) {
	m.t.Helper()
	if len(b.text) == 0 {
		return
	}
	element := strings.TrimSuffix(c.base, "[]")
	literals := slices.Clone(b.text)
	for i, s := range b.text {
		was := string(b.want[i].text)
		if c.family == "array" {
			literals[i] = literalOf(s, element)
		} else if beyond := len(was) < 10 || was[4] != '-' || strings.HasSuffix(was, "BC"); !beyond && !rfc3339.MatchString(s) || beyond && s != was {
			m.t.Errorf("%s: %q is not as documented", where, s)
		}
	}
	rows, err := m.conn.Query(context.Background(), fmt.Sprintf("select x::%s::text from unnest($1::text[]) with ordinality u (x, i) order by i", c.name), literals)
	if err != nil {
		m.t.Errorf("%s: %v", where, err)
		return
	}
	back, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		m.t.Errorf("%s: the server does not read all of %.1000q: %v", where, b.text, err)
		return
	}
	for i := range back {
		if back[i] != string(b.want[i].text) {
			m.t.Errorf("%s of row %s: %.300q is read as %.300q, was %v", where, b.rows[i], b.text[i], back[i], b.want[i])
		}
	}
}

// literalOf makes an array's literal of a JSON array. What is no JSON array is one already.
func literalOf(s, element string) string {
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(s), &parts); err != nil {
		return s
	}
	delimiter := ","
	if element == "box" {
		delimiter = ";"
	}
	var out []string
	for _, p := range parts {
		text := string(p)
		switch {
		case text == "null":
			out = append(out, "NULL")
			continue
		case element == "json", element == "jsonb", element == "doc":
		case p[0] == '[':
			out = append(out, literalOf(text, element))
			continue
		case p[0] == '"':
			_ = json.Unmarshal(p, &text)
			if element == "bytea" {
				b, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					return "no base64"
				}
				text = `\x` + hex.EncodeToString(b)
			}
		}
		out = append(out, quoteElement(text))
	}
	return "{" + strings.Join(out, delimiter) + "}"
}

// noForeignWrites verifies that every update and delete found its row.
func (m *matrix) noForeignWrites() {
	m.t.Helper()
	for _, x := range m.targets {
		table := "waybill.position"
		if x.path != "" {
			table = "waybill_position"
		}
		if n := m.count(x, fmt.Sprintf("select foreign_writes from %s where stream = '%s/%s'", table, x.pipeline, x.name)); n != 0 {
			m.t.Errorf("%s/%s: %d changes did not find the rows that the stream had written", x.pipeline, x.name, n)
		}
	}
}
