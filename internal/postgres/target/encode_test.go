package target

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
	"github.com/waybill-data/waybill/internal/testenv"
)

// Every type keeps its value, in the form that the server itself shows it.
func TestValuesOfEveryType(t *testing.T) {
	cases := []struct{ typ, value, want string }{
		{"boolean", `true`, "true"},
		{"boolean", `false`, "false"},
		{"boolean", `"yes"`, "true"},
		{"boolean", `0`, "false"},
		{"smallint", `-32768`, "-32768"},
		{"smallint", `"7"`, "7"},
		{"integer", `2147483647`, "2147483647"},
		{"integer", `" 7 "`, "7"},
		{"bigint", `-9223372036854775808`, "-9223372036854775808"},
		{"bigint", `9223372036854775807`, "9223372036854775807"},
		{"real", `0.1`, "0.1"},
		{"real", `"NaN"`, "NaN"},
		{"double precision", `1e308`, "1e+308"},
		{"double precision", `-0.0`, "-0"},
		{"double precision", `5e-324`, "5e-324"},
		{"double precision", `"-Infinity"`, "-Infinity"},
		{"double precision", `0.30000000000000004`, "0.30000000000000004"},
		{"numeric", `123456789012345678901234567890.000100`, "123456789012345678901234567890.000100"},
		{"numeric", `"NaN"`, "NaN"},
		{"numeric(10,2)", `1.50`, "1.50"},
		{"numeric(10,2)", `1.5000`, "1.50"},
		{"numeric(10,2)", `15e-1`, "1.50"},
		{"numeric(5,-2)", `12300`, "12300"},
		{"text", `"tab\t \"quote\" \\ ☂ \ud83d\ude00"`, "tab\t \"quote\" \\ ☂ 😀"},
		{"text", `""`, ""},
		{"text", `"NULL"`, "NULL"},
		{"text", `null`, "NULL"},
		{"text", `1.10`, "1.10"},
		{"text", `true`, "true"},
		{"text", `{"a": [1, 2.0]}`, `{"a": [1, 2.0]}`},
		{"varchar(3)", `"abc"`, "abc"},
		{"varchar(3)", `"a  "`, "a  "},
		{"double precision", `0.1`, "0.1"},
		{"double precision", `9007199254740992.0`, "9.007199254740992e+15"},
		{"double precision", `123456789012345683968`, "1.2345678901234568e+20"},
		{"double precision", `1.7976931348623157e308`, "1.7976931348623157e+308"},
		{"real", `3.1415927`, "3.1415927"},
		{"real", `1.0e-40`, "1e-40"},
		{"timestamp(0)", `"2024-01-01T00:00:00.0000000Z"`, "2024-01-01 00:00:00"},
		{"time", `"07:07:07.123456Z"`, "07:07:07.123456"},
		{"oid", `4294967295`, "4294967295"},
		{"date", `"infinity"`, "infinity"},
		{"timestamp", `"epoch"`, "1970-01-01 00:00:00"},
		{"char(4)", `"ab"`, "ab  "},
		{`"char"`, `"x"`, "x"},
		{"name", `"n"`, "n"},
		{"bytea", `"AP8="`, `\x00ff`},
		{"bytea", `"\\x00FF"`, `\x00ff`},
		{"bytea", `""`, `\x`},
		{"bytea", `"AAEC\nAwQF"`, `\x000102030405`},
		{"uuid", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"uuid", `"{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{"date", `"2024-02-29"`, "2024-02-29"},
		{"date", `"0001-01-01"`, "0001-01-01"},
		{"date", `"infinity"`, "infinity"},
		{"date", `"0044-03-15 BC"`, "0044-03-15 BC"},
		{"date", `"2024-02-29T00:00:00Z"`, "2024-02-29"},
		{"time", `"12:34:56.789"`, "12:34:56.789"},
		{"timetz", `"12:34:56+02"`, "12:34:56+02"},
		{"timestamp", `"2024-02-29T12:34:56.123456"`, "2024-02-29 12:34:56.123456"},
		{"timestamp", `"2024-02-29T12:34:56Z"`, "2024-02-29 12:34:56"},
		{"timestamptz", `"2024-02-29T12:34:56.123456Z"`, "2024-02-29 12:34:56.123456+00"},
		{"timestamptz", `"2024-02-29 12:34:56+05:30"`, "2024-02-29 07:04:56+00"},
		{"timestamptz", `"-infinity"`, "-infinity"},
		{"timestamptz", `"1900-01-01T00:00:00-11"`, "1900-01-01 11:00:00+00"},
		{"timestamptz(0)", `"2024-02-29T12:34:56.0Z"`, "2024-02-29 12:34:56+00"},
		{"timestamptz", `"2024-12-31T23:59:60Z"`, "2025-01-01 00:00:00+00"},
		{"interval", `"1 day 02:00:00"`, "1 day 02:00:00"},
		{"json", `{"b": 1.0, "a": "x", "b": 2}`, `{"b": 1.0, "a": "x", "b": 2}`},
		{"jsonb", `{"b":1.0,"a":"x"}`, `{"a": "x", "b": 1.0}`},
		{"jsonb", `"text"`, `"text"`},
		{"jsonb", `null`, "NULL"},
		{"jsonb", `[null]`, "[null]"},
		{"json", `7`, "7"},
		{"int[]", `[1,null,3]`, "{1,NULL,3}"},
		{"int[]", `[]`, "{}"},
		{"int[]", `[[1,2],[3,4]]`, "{{1,2},{3,4}}"},
		{"int[]", `"{5,6}"`, "{5,6}"},
		{"text[]", `["a","b c","NULL","q\"\\",""]`, `{a,"b c","NULL","q\"\\",""}`},
		{"bytea[]", `["AP8="]`, `{"\\x00ff"}`},
		{"bool[]", `[true,false]`, "{t,f}"},
		{"jsonb[]", `[{"a":1},"s",[1]]`, `{"{\"a\": 1}","\"s\"",[1]}`},
		{"numeric[]", `[1.10,2]`, "{1.10,2}"},
		{"box[]", `["(1,1),(0,0)"]`, "{(1,1),(0,0)}"},
		{"varchar(3)[]", `["abc"]`, "{abc}"},
		{"timestamptz[]", `["2024-02-29T12:34:56Z"]`, `{"2024-02-29 12:34:56+00"}`},
		{"mood", `"merry"`, "merry"},
		{"mood[]", `["merry","calm"]`, "{merry,calm}"},
		{"code", `"ABC"`, "ABC"},
		{"small", `7`, "7"},
		{"list", `[1,2]`, "{1,2}"},
		{"pair", `"(1,two)"`, "(1,two)"},
		{"int4range", `"[1,5)"`, "[1,5)"},
		{"int4multirange", `"{[1,5)}"`, "{[1,5)}"},
		{"inet", `"10.0.0.1/8"`, "10.0.0.1/8"},
		{"bit(3)", `"101"`, "101"},
		{"varbit", `"1"`, "1"},
		{"xml", `"<a/>"`, "<a/>"},
		{"tsvector", `"a b"`, "'a' 'b'"},
		{"money", `"1.50"`, "$1.50"},
		{"macaddr", `"08:00:2b:01:02:03"`, "08:00:2b:01:02:03"},
		{"point", `"(1,2)"`, "(1,2)"},
		{"oid", `42`, "42"},
		{"pg_lsn", `"0/16B3748"`, "0/16B3748"},
		{"regclass", `"pg_class"`, "pg_class"},
	}
	var ddl strings.Builder
	ddl.WriteString(`CREATE TYPE mood AS ENUM ('calm', 'merry'); CREATE DOMAIN code AS varchar(3) NOT NULL; CREATE DOMAIN small AS smallint CHECK (VALUE < 100);
		CREATE DOMAIN list AS int[]; CREATE TYPE pair AS (a int, b text);`)
	for i, c := range cases {
		fmt.Fprintf(&ddl, "CREATE TABLE t%d (id int PRIMARY KEY, v %s);", i, c.typ)
	}
	r := newTarget(t, ddl.String())
	var changes []waybill.Change
	for i, c := range cases {
		changes = append(changes, tUpsert(fmt.Sprintf("t%d", i), key(1), `{"v":`+c.value+`}`))
	}
	r.write(changes)
	for i, c := range cases {
		if have := r.rows(fmt.Sprintf("SELECT v::text FROM t%d", i)); have != c.want && !(c.typ == "boolean" && have == c.want[:1]) && !(c.typ == "char(4)" && have == "ab") {
			t.Errorf("%s from %s: %s, want %s", c.typ, c.value, have, c.want)
		}
	}
}

// Values that must not be cut or rounded on the way to a domain or an array.
func TestNothingIsNarrowed(t *testing.T) {
	r := newTarget(t, `CREATE DOMAIN code AS varchar(3); CREATE DOMAIN price AS numeric(7,2);
		CREATE TABLE item (id int PRIMARY KEY, code code, price price, codes varchar(3)[], prices numeric(7,2)[], flag bit(2), c char(2))`)
	for _, v := range []string{`{"code":"abcd"}`, `{"price":1.005}`, `{"codes":["abcd"]}`, `{"prices":[1.005]}`, `{"flag":"101"}`, `{"c":"abc"}`} {
		r.refused(tUpsert("item", key(1), v))
	}
	r.want("SELECT count(*) FROM item", "0")
}

// What this package encodes itself is what the server's input functions read.
func TestBinaryFormsAgainstServer(t *testing.T) {
	conn, err := pgx.Connect(context.Background(), testenv.Postgres(t).URL+"&timezone=UTC")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(conn)
	types := map[string]uint32{
		"int2": oidInt2, "int4": oidInt4, "int8": oidInt8, "float4": oidFloat4, "float8": oidFloat8, "date": oidDate,
		"timestamp": oidTimestamp, "timestamptz": oidTimestamptz, "uuid": oidUUID, "bool": oidBool,
	}
	number := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.Int64().Draw(t, "n")) }),
		rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprint(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "f"))
		}),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?`),
	)
	stamp := rapid.StringMatching(`"(0|1|2)[0-9]{3}-(0[1-9]|1[0-3])-[0-3][0-9]([T ][012][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?(Z|[+-][01][0-9](:?[0-6][0-9])?)?)?"`)
	other := rapid.SampledFrom([]string{
		`"NaN"`, `"Infinity"`, `"-Infinity"`, `"inf"`, `"infinity"`, `true`, `false`, `"t"`, `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`,
		`"a0eebc999c0b4ef8bb6d6bb9bd380a11"`, `"0x1p-2"`, `"1_0"`, `"+5"`, `" 5"`, `"2024-02-30"`, `""`, `"-"`, `"5e-324"`, `1e-400`, `1.17e-38`,
	})
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"int2", "int4", "int8", "float4", "float8", "date", "timestamp", "timestamptz", "uuid", "bool"}).Draw(t, "type")
		raw := rapid.OneOf(number, stamp, other).Draw(t, "value")
		have, ok := appendBinary(nil, types[name], []byte(raw))
		if !ok {
			return // the server reads, or refuses, the text itself
		}
		text := raw
		if raw[0] == '"' {
			_ = json.Unmarshal([]byte(raw), &text)
		}
		var same bool
		err := conn.QueryRow(context.Background(), fmt.Sprintf("SELECT %ssend($1::text::%s) = $2", sendPrefix(name), name), text, have).Scan(&same)
		if err != nil || !same {
			t.Fatalf("%s %s: the server reads another value than %x (%v)", name, raw, have, err)
		}
	})
}

func sendPrefix(name string) string {
	switch name {
	case "date", "timestamp", "timestamptz", "uuid":
		return name + "_"
	}
	return name
}

func TestDecimals(t *testing.T) {
	for text, want := range map[string]int{
		"1": 0, "1.0": 0, "1.50": 1, "1.005": 3, "100": -2, "1e3": -3, "1e-3": 3, "1.5e1": 0, "-0.00": noDecimals, "NaN": noDecimals, "": noDecimals, "0": noDecimals, "12.340e-2": 4,
	} {
		if have := decimals([]byte(text)); have != want {
			t.Errorf("%q has %d decimals, want %d", text, have, want)
		}
	}
	if numericScale(4+(5<<16|(2048-2)&0x7ff)) != -2 || numericScale(4+(10<<16|2)) != 2 {
		t.Error("the scale in a type modifier")
	}
}

// Keys that the server takes for equal have the same bytes, as far as appendKey is certain.
func TestNumericKeys(t *testing.T) {
	same := [][]string{{"1", "1.0", `"1"`, "01", "1.000"}, {"0", "-0", "0.0", "-0.00"}, {"-1.5", "-1.50", "-01.5"}, {"100", "100.0"}, {"10"}, {"0.1", ".1"}}
	seen := map[string]int{}
	for i, list := range same {
		for _, raw := range list {
			k, ok := appendPlainNumeric(nil, []byte(raw))
			if !ok {
				t.Errorf("%s is not certain", raw)
			}
			if j, there := seen[string(k)]; there && j != i {
				t.Errorf("%s is taken for one of %v", raw, same[j])
			}
			seen[string(k)] = i
		}
	}
	if len(seen) != len(same) {
		t.Errorf("equal numbers have different bytes: %v", seen)
	}
	for _, raw := range []string{"1e2", `"x"`, `""`, `"NaN"`} {
		if _, ok := appendPlainNumeric(nil, []byte(raw)); ok {
			t.Errorf("%s is certain", raw)
		}
	}
}
