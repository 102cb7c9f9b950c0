package target

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
)

// tNative are values as a log yields them: an expression of each type.
var tNative = []struct{ typ, value string }{
	{"bool", "true"},
	{"int2", "-7"},
	{"int4", "7"},
	{"int8", "9223372036854775807"},
	{"float4", "1.5"},
	{"float8", "'-Infinity'"},
	{"numeric", "'NaN'"},
	{"numeric(12,3)", "1234.500"},
	{"text", `E'a "b" \\c\n'`},
	{"varchar(20)", "'x'"},
	{"char(5)", "'ab'"},
	{"bytea", `'\x00ff10'`},
	{"date", "'0044-03-15 BC'"},
	{"timestamp", "'infinity'"},
	{"timestamptz", "'2024-02-29 12:00:00.123456+02'"},
	{"time", "'24:00'"},
	{"timetz", "'12:00+05:30'"},
	{"interval", "'1 year -2 days 3.5 seconds'"},
	{"uuid", "'00112233-4455-6677-8899-aabbccddeeff'"},
	{"json", `'{"b": 1, "a": [null]}'`},
	{"jsonb", `'{"b": 1.50, "a": "\"x"}'`},
	{"inet", "'10.0.0.1/8'"},
	{"cidr", "'10.0.0.0/8'"},
	{"macaddr", "'08:00:2b:01:02:03'"},
	{"point", "'(1.5,2)'"},
	{"polygon", "'((0,0),(1,0),(1,1))'"},
	{"bit(3)", "B'101'"},
	{"varbit", "B'10'"},
	{"pg_lsn", "'16/B374D848'"},
	{"xml", "'<a>1</a>'"},
	{"tsvector", "'fat cat:2A'"},
	{"int4range", "'[1,5)'"},
	{"tstzrange", "'(,2024-01-01)'"},
	{"int4multirange", "'{[1,3),[5,7)}'"},
	{"int4[]", "'{{1,NULL},{3,4}}'"},
	{"text[]", `'{"a,b","NULL",NULL}'`},
	{"numeric(5,2)[]", "'{1.50}'"},
	{"jsonb[]", `ARRAY['[1]'::jsonb]`},
	{"mood", "'happy'"},
	{"mood[]", "'{sad,happy}'"},
	{"pair", "ROW(1, 'x y')::pair"},
	{"small", "5"},
}

func tNativeRow(t *testing.T, r *targetRig, sql string, binary bool) waybill.Row {
	t.Helper()
	r.rows("SELECT 1")
	format := int16(0)
	if binary {
		format = 1
	}
	read := r.conn.PgConn().ExecParams(r.ctx(), sql, nil, nil, nil, []int16{format}).Read()
	if read.Err != nil {
		t.Fatalf("%s: %v", sql, read.Err)
	}
	var out waybill.Row
	for i, f := range read.FieldDescriptions {
		typ := &pgvalue.Type{OID: f.DataTypeOID, Under: f.DataTypeOID, Modifier: f.TypeModifier, Name: "src." + strings.TrimPrefix(f.Name, "c_")}
		v := waybill.Value{}
		if raw := read.Rows[0][i]; raw != nil {
			v = waybill.Value{Form: waybill.Native, Raw: raw, Encoding: &pgvalue.Encoding{Type: typ, Binary: binary}}
		}
		out = append(out, waybill.Column{Name: f.Name, Value: v})
	}
	return out
}

// notBinary are the types whose binary form the test's source would not send.
var notBinary = map[string]bool{
	"xml": true, "tsvector": true, "mood": true, "pair": true, "mood[]": true, "small": true, "int4multirange": true,
	"int4[]": true, "text[]": true, "numeric(5,2)[]": true, "jsonb[]": true,
}

func TestNativeValues(t *testing.T) {
	types := "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN small AS int2; CREATE TYPE pair AS (a int, b text);"
	r := newTarget(t, types+"CREATE SCHEMA src; SET search_path = src;"+types)
	for i, c := range tNative {
		for _, binary := range []bool{false, true} {
			if binary && notBinary[c.typ] {
				continue
			}
			table := fmt.Sprintf("t%d_%v", i, binary)
			r.exec(fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v %s)", table, c.typ))
			sql := fmt.Sprintf(`SELECT (%s)::%s AS "c_%s"`, c.value, strings.Replace(c.typ, "mood", "src.mood", 1), c.typ)
			if c.typ == "pair" {
				sql = `SELECT ROW(1, 'x y')::src.pair AS c_pair`
			}
			v := tNativeRow(t, r, sql, binary)[0].Value
			id := tNativeRow(t, r, "SELECT 1::int4, 2::int4, 3::int4", binary)
			one := func(op waybill.Op, n int, v waybill.Value) waybill.Change {
				return waybill.Change{Entity: table, Op: op, Key: waybill.Row{{Name: "id", Value: id[n].Value}}, Row: waybill.Row{{Name: "v", Value: v}}}
			}
			r.write(act(one(waybill.Insert, 0, v)), act(one(waybill.Insert, 1, v)), act(one(waybill.Update, 0, v)), act(one(waybill.Upsert, 2, waybill.Value{})))
			want := r.rows(fmt.Sprintf("SELECT (%s)::%s::text", c.value, c.typ))
			if have := r.rows(fmt.Sprintf("SELECT string_agg(coalesce(v::text, 'null'), ';' ORDER BY id) FROM %s", table)); have != want+";"+want+";null" {
				t.Errorf("%s, binary %v:\nhave %s\nwant %s twice", c.typ, binary, have, want)
			}
		}
	}
}

// Where the types differ, what the target would cut or round is refused as ever.
func TestNativeNarrows(t *testing.T) {
	r := newTarget(t, `CREATE TABLE n (id int PRIMARY KEY, num numeric(6,1), txt varchar(3), sec timestamp(0), i2 int2, wide text)`)
	for _, binary := range []bool{false, true} {
		id := tNativeRow(t, r, "SELECT 1::int4", binary)[0].Value
		for column, sql := range map[string]string{
			"num": "1.25::numeric(6,2)", "txt": "'abcd'::varchar(4)", "sec": "timestamp '2024-01-01 00:00:00.5'", "i2": "70000::int4",
		} {
			v := tNativeRow(t, r, "SELECT "+sql, binary)[0].Value
			refused := r.refused(waybill.Change{Entity: "n", Op: waybill.Upsert, Key: waybill.Row{{Name: "id", Value: id}}, Row: waybill.Row{{Name: column, Value: v}}})
			if refused.Entity != "n" {
				t.Errorf("%s: %v", column, refused)
			}
		}
		row := tNativeRow(t, r, `SELECT 1.5::numeric(6,2) AS num, 'ab '::varchar(9) AS txt, timestamp '2024-01-01' AS sec, 7::int8 AS i2, 'x'::varchar AS wide`, binary)
		r.write(act(waybill.Change{Entity: "n", Op: waybill.Upsert, Key: waybill.Row{{Name: "id", Value: id}}, Row: row}))
		r.want("SELECT * FROM n", "1|1.5|ab |2024-01-01 00:00:00|7|x")
	}
}

// A key is the same row in whatever form it comes.
func TestNativeKeys(t *testing.T) {
	r := newTarget(t, `CREATE TABLE k (id numeric PRIMARY KEY, v text)`)
	native := tNativeRow(t, r, "SELECT 1.0::numeric, 2.0::numeric", true)
	change := func(op waybill.Op, key, row waybill.Row) waybill.Change {
		return waybill.Change{Entity: "k", Op: op, Key: key, Row: row}
	}
	id := func(v waybill.Value) waybill.Row { return waybill.Row{{Name: "id", Value: v}} }
	v := func(s string) waybill.Row {
		return waybill.Row{{Name: "v", Value: waybill.Value{Form: waybill.JSON, Raw: []byte(s)}}}
	}
	r.write(act(change(waybill.Insert, id(native[0].Value), v(`"a"`)), tUpdate("k", `{"id":1}`, `{"v":"b"}`), change(waybill.Update, id(native[0].Value), v(`"c"`)),
		tDelete("k", `{"id":1.00}`), change(waybill.Upsert, id(native[0].Value), v(`"d"`))),
		act(change(waybill.Update, id(native[0].Value), append(id(native[1].Value), v(`"e"`)...))))
	r.want("SELECT * FROM k", "2.0|e")
}
