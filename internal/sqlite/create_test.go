package sqlite

import (
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// coded is an Encoding whose bytes are JSON already, but for one letter.
type coded string

func (c coded) AppendJSON(dst, raw []byte) ([]byte, error) {
	if len(raw) == 0 || raw[0] != '!' {
		return nil, errors.New("not of this encoding")
	}
	if string(raw) == "!null" {
		return nil, waybill.ErrNullDocument
	}
	return append(dst, raw[1:]...), nil
}

func (c coded) String() string { return string(c) }

func native(typ, json string) waybill.Value {
	return waybill.Value{Form: waybill.Native, Raw: []byte("!" + json), Encoding: coded(typ)}
}

// always has tables made and followed.
func always(string) (create, evolve bool) { return true, true }

var evolving = TargetOptions{Define: always}

// TestCreateTypes: the documented mapping, and what stands in the columns afterwards.
func TestCreateTypes(t *testing.T) {
	columns := []struct{ typ, json, declared, want string }{
		{"integer", "1", "INTEGER", "integer 1"},
		{"bigint", "9223372036854775807", "INTEGER", "integer 9223372036854775807"},
		{"real", "0.1", "REAL", "real 0.1"},
		{"double precision", `"NaN"`, "REAL", "text NaN"},
		{"double precision", `"-Infinity"`, "REAL", "text -Infinity"},
		{"numeric(10,2)", "1.25", "NUMERIC(10,2)", "real 1.25"},
		{"numeric", "1.10000000000000000000000000001", "TEXT", "text 1.10000000000000000000000000001"},
		{"numeric(16,2)", "12345678901234.50", "TEXT", "text 12345678901234.50"},
		{"numeric", `"Infinity"`, "TEXT", "text Infinity"},
		{"boolean", "true", "BOOLEAN", "integer 1"},
		{"boolean", "false", "BOOLEAN", "integer 0"},
		{"bytea", `"3q2+7w=="`, "BLOB", "blob DEADBEEF"},
		{"text", `"007"`, "TEXT", "text 007"},
		{"character varying(9)", `"1e5"`, "TEXT", "text 1e5"},
		{"timestamp(3) with time zone", `"2026-01-31T12:00:00.123456Z"`, "TEXT", "text 2026-01-31T12:00:00.123456Z"},
		{"json", `{"a": 1.0}`, "TEXT", `text {"a": 1.0}`},
		{"jsonb", `"a"`, "TEXT", `text "a"`},
		{"jsonb", `5`, "TEXT", "text 5"},
		{"jsonb", `null`, "TEXT", "text null"},
		{"integer[]", `[1,null,3]`, "TEXT", "text [1,null,3]"},
		{"uuid", `"6f1c0f4e-2a00-4000-8000-000000000001"`, "TEXT", "text 6f1c0f4e-2a00-4000-8000-000000000001"},
		{"int4range", `"[1,5)"`, "TEXT", "text [1,5)"},
		{"interval", `"1 day"`, "TEXT", "text 1 day"},
	}
	for _, c := range columns {
		t.Run(c.typ+c.json, func(t *testing.T) {
			a := newApp(t)
			x := a.writer(evolving)
			s := conformance.Schema("public.t", []string{"id"}, "id integer not null", "v "+c.typ)
			ch := conformance.Captured(s, waybill.Insert, `{"id":1}`, `{"id":1}`)
			ch.Row = append(ch.Row, waybill.Column{Name: "v", Value: native(c.typ, c.json)})
			x.write(ch)
			a.want("SELECT type FROM pragma_table_info('t') WHERE name = 'v'", c.declared)
			a.want("SELECT typeof(v) || ' ' || CASE typeof(v) WHEN 'blob' THEN hex(v) ELSE v END FROM t", c.want)
		})
	}
}

func TestCreateKeys(t *testing.T) {
	a := newApp(t)
	x := a.writer(evolving)
	parent := conformance.Schema(`public.Order "x"`, []string{"id", "select"}, "id bigint not null", "select text not null", "Mixed text", "code text")
	parent.Unique = [][]string{{"code"}}
	child := conformance.Schema("public.line", []string{"n"}, "n integer not null", "o bigint", "s text", "up integer", "gone integer")
	child.Foreign = []waybill.ForeignKey{
		{Columns: []string{"o", "s"}, Entity: parent.Entity, References: []string{"id", "select"}},
		{Columns: []string{"up"}, Entity: "public.line", References: []string{"n"}},
		{Columns: []string{"gone"}, Entity: "public.elsewhere", References: []string{"id"}},
	}
	x.write(
		conformance.Captured(parent, waybill.Insert, `{"id":1,"select":"a"}`, `{"id":1,"select":"a","Mixed":"m","code":"c"}`),
		conformance.Captured(child, waybill.Insert, `{"n":1}`, `{"n":1,"o":1,"s":"a","up":1,"gone":7}`))
	a.want(`SELECT id, "select", Mixed, code FROM "Order ""x"""`, "1|a|m|c")
	a.want(`SELECT count(DISTINCT id) FROM pragma_foreign_key_list('line')`, "2")
	a.want(`SELECT name FROM pragma_table_info('Order "x"') WHERE pk > 0 ORDER BY pk`, "id\nselect")
	refused := x.refused(conformance.Captured(parent, waybill.Insert, `{"id":2,"select":"a"}`, `{"id":2,"select":"a","code":"c"}`))
	if !strings.Contains(refused.Reason, "another row") {
		t.Fatal(refused)
	}
	if r := x.refused(insert("nowhere", `{"id":1}`, `{}`)); r.Remedy != "create it" {
		t.Fatal(r)
	}
	if r := x.refused(conformance.Captured(conformance.Schema("public.waybill_x", nil, "id integer"), waybill.Insert, `{"id":1}`, `{}`)); !strings.Contains(r.Reason, "does not belong") {
		t.Fatal(r)
	}
}

// TestCreateRefused: a batch that is refused leaves no table behind, and one that comes again finds none.
func TestCreateRefused(t *testing.T) {
	a := newApp(t, "CREATE TABLE strict (id integer PRIMARY KEY, v text NOT NULL)")
	x := a.writer(evolving)
	s := conformance.Schema("public.fresh", []string{"id"}, "id integer not null")
	x.refused(conformance.Captured(s, waybill.Insert, `{"id":1}`, `{"id":1}`), insert("strict", `{"id":1}`, `{}`))
	a.want("SELECT count(*) FROM sqlite_master WHERE name = 'fresh'", "0")
	x.write(conformance.Captured(s, waybill.Insert, `{"id":1}`, `{"id":1}`))
	a.want("SELECT id FROM fresh", "1")
}

func TestCreateOff(t *testing.T) {
	a := newApp(t)
	x := a.writer(TargetOptions{})
	x.refused(conformance.Captured(conformance.Schema("public.t", []string{"id"}, "id integer"), waybill.Insert, `{"id":1}`, `{"id":1}`))
}

func TestEvolve(t *testing.T) {
	a := newApp(t)
	x := a.writer(evolving)
	v1 := conformance.Schema("public.t", []string{"id"}, "id integer not null", "name character varying(10)")
	v2 := conformance.Schema("public.t", []string{"id"}, "id bigint not null", "name character varying(20)", "born date not null")
	x.write(
		conformance.Captured(v1, waybill.Insert, `{"id":1}`, `{"id":1,"name":"a"}`),
		conformance.Captured(v2, waybill.Insert, `{"id":2}`, `{"id":2,"name":"b","born":"2026-01-31"}`))
	a.want("SELECT * FROM t", "1|a|NULL\n2|b|2026-01-31")

	fails := func(want string, c waybill.Change) {
		t.Helper()
		err := x.try([]waybill.Change{c})
		var refused *waybill.Refusal
		if err == nil || errors.As(err, &refused) || waybill.Transient(err) || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want a permanent error with %q", err, want)
		}
	}
	gone := conformance.Schema("public.t", []string{"id"}, "id bigint not null", "name character varying(20)")
	fails("no column born any more", conformance.Captured(gone, waybill.Insert, `{"id":3}`, `{"id":3,"name":"c"}`))
	narrow := conformance.Schema("public.t", []string{"id"}, "id bigint not null", "name character varying(5)", "born date not null")
	fails("changed the type of column name", conformance.Captured(narrow, waybill.Insert, `{"id":3}`, `{"id":3,"name":"c"}`))
	fails("both be written", conformance.Captured(conformance.Schema("sales.T", []string{"id"}, "id integer"), waybill.Insert, `{"id":3}`, `{"id":3}`))

	// Once it is dropped here too, the stream goes on.
	a.exec("ALTER TABLE t DROP COLUMN born")
	x.write(conformance.Captured(gone, waybill.Insert, `{"id":3}`, `{"id":3,"name":"c"}`))
}

// TestEvolveRenamed: a writer that has not seen the former definition tells a column that may have
// been renamed by what the target has and the source has not.
func TestEvolveRenamed(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY, name text, made text DEFAULT 'now', twice integer AS (id * 2))", "INSERT INTO t VALUES (1, 'a', 'x')")
	x := a.writer(evolving)
	c := conformance.Captured(conformance.Schema("public.t", []string{"id"}, "id integer not null", "Label text"), waybill.Insert, `{"id":2}`, `{"id":2,"Label":"b"}`)
	err := x.try([]waybill.Change{c})
	const want = `the source has a column Label that it lacks, and it has a column name that the source lacks: it may have been renamed there; ` +
		`ALTER TABLE "t" RENAME COLUMN "name" TO "Label"; or, if it is another: ALTER TABLE "t" ADD COLUMN "Label" TEXT; then`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("%v, want %q", err, want)
	}
	a.exec("ALTER TABLE t RENAME COLUMN name TO label")
	x.write(c)
	a.want("SELECT id, label FROM t", "1|a\n2|b")
	// Columns that fill themselves are the target's own.
	more := conformance.Schema("public.t", []string{"id"}, "id integer not null", "Label text", "more text")
	x.write(conformance.Captured(more, waybill.Insert, `{"id":3}`, `{"id":3,"Label":"c","more":"d"}`))
	a.want("SELECT id, more FROM t WHERE id = 3", "3|d")
}

func TestNarrowColumns(t *testing.T) {
	a := newApp(t, "CREATE TABLE t (id integer PRIMARY KEY, price numeric, data blob, f real)")
	x := a.writer(evolving)
	for column, typ := range map[string]string{"price": "numeric", "data": "text", "f": "bigint"} {
		err := x.try([]waybill.Change{conformance.Captured(conformance.Schema("public.t", []string{"id"}, "id integer not null", column+" "+typ), waybill.Insert, `{"id":1}`, `{"id":1}`)})
		if err == nil || !strings.Contains(err.Error(), "cannot hold every value of the source's type "+typ) {
			t.Fatalf("%s: %v", column, err)
		}
	}
}

// refused writes one action and returns why it is refused.
func (x *target) refused(changes ...waybill.Change) *waybill.Refusal {
	x.t.Helper()
	err := x.try(changes)
	var r *waybill.Refusal
	if !errors.As(err, &r) {
		x.t.Fatalf("Write: %v, want a *Refusal", err)
	}
	return r
}

// TestCreateDescribed: rows without a schema have their table made where its types are known.
func TestCreateDescribed(t *testing.T) {
	a := newApp(t)
	x := a.writer(TargetOptions{Define: always, Describe: func(c *waybill.Change) (*waybill.Schema, string) {
		s := conformance.Schema(c.Entity, []string{"id"}, "id int8", "born date")
		if _, odd := c.Row.Get("odd"); odd || c.Entity == "other" {
			return s, "name the type"
		}
		return s, ""
	}})
	x.write(remove("person", `{"id":1}`), upsert("person", `{"id":1}`, `{"born":"1970-01-01"}`))
	a.want("SELECT id, born FROM person", "1|1970-01-01")
	a.exec("ALTER TABLE person DROP COLUMN born")
	x.write(upsert("person", `{"id":1}`, `{"born":"1980-01-01"}`))
	a.want("SELECT id, born FROM person", "1|1980-01-01")
	if e := x.refused(upsert("person", `{"id":1}`, `{"odd":1}`)); e.Remedy != `ALTER TABLE "person" ADD COLUMN "odd"; or name the type` {
		t.Error(e)
	}
	if e := x.refused(insert("other", `{"id":1}`, `{}`)); e.Remedy != "create it; or name the type" {
		t.Error(e)
	}
}
