package test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// noise is n characters that do not compress, so that the server keeps them out of line.
func noise(n int) string {
	var b strings.Builder
	for sum := sha256.Sum256([]byte("matrix")); b.Len() < n; sum = sha256.Sum256(sum[:]) {
		b.WriteString(hex.EncodeToString(sum[:]))
	}
	return b.String()[:n]
}

// awkward is text that anything which quotes or splits may trip over.
var awkward = []string{
	"", " ", "a", "NULL", "null", "'", `"`, `\`, `\\`, `\x41`, "{", "}", "{}", ",", ";", "(", ")", "[1:1]={1}", `a'b"c\d{e}f,g;h(i)j`, " lead", "trail ", "\t\n\r\v\f", "line\nfeed",
	"Zoë", "漢字", "😀", "e\u0301", "\u2028<>&", "\u0001\u001f\u007f", "1", "1e5", "0x10", "true", "infinity", "2024-01-01", "=cmd", "$1", "%s", "${HOME}", "--", "/*",
}

// baseLiterals are values of the built-in types that are not made of others, as their input
// functions read them, by the catalog's name.
var baseLiterals = map[string][]string{
	"bool": {"t", "f"},
	"int2": {"0", "-32768", "32767", "-1"}, "int4": {"0", "-2147483648", "2147483647", "7"},
	"int8": {"0", "-9223372036854775808", "9223372036854775807", "9007199254740993", "-9007199254740993"},
	"oid":  {"0", "1", "2147483648", "4294967295"}, "xid": {"0", "3", "4294967295"}, "cid": {"0", "4294967295"},
	"xid8": {"0", "9223372036854775808", "18446744073709551615"}, "tid": {"(0,0)", "(4294967295,65535)"},
	"float4": {
		"0", "-0", "1", "0.1", "-1.1", "3.4028235e38", "-3.4028235e38", "1.17549435e-38", "1e-45", "-1e-45", "1.1e-40", "1e5", "999999", "1e6", "16777217", "33554436", "8388608.5", "NaN", "Infinity", "-Infinity",
	},
	"float8": {
		"0", "-0", "1", "0.1", "-123.456", "1e15", "1e22", "1e23", "5e-324", "-5e-324", "2.2250738585072009e-308", "2.2250738585072014e-308", "1.7976931348623157e308", "-1.7976931348623157e308",
		"9007199254740993", "123456789012345678", "0.30000000000000004", "NaN", "Infinity", "-Infinity",
	},
	"numeric": {
		"0", "0.00", "-1", "1.10", "12345.678900", "1e100", "-1e-100", "NaN", "Infinity", "-Infinity", "123456789012345678901234567890.1234567890", "-9999999999999999999999999999999999999999",
		"0." + strings.Repeat("0", 16382) + "1", "1e131071", "9007199254740993", "100000000000000000000", "0.1000", "1e-20", strings.Repeat("9", 500) + "." + strings.Repeat("7", 1500),
	},
	"money": {"0", "-1", "0.01", "-0.05", "1234567.89", "92233720368547758.07", "-92233720368547758.08"},
	"text":  append([]string{noise(9000), strings.Repeat("x", 100_000)}, awkward...), "varchar": awkward, "bpchar": append([]string{"b  "}, awkward...),
	"name": {"", "a", strings.Repeat("n", 63), "Ünï \"q\" '", "back\\slash"}, "char": {"a", "", `"`, "'", `\`, " ", "{", `\351`, "1"},
	"bytea": {"", `\x00`, `\x00ff10`, `\xdeadbeef`, `\x5c`, `\x` + noise(20_000), `\x27225c7b7d2c`},
	"json": {
		`{}`, `[]`, `""`, `{"b": 1,  "a":[ null,true ], "b":2}`, ` {"lead": 1}`, "{\n\t\"x\" : 1.50e+2\r\n}", `{"trail": 1}  `, `"null"`, `12.50`, `-0`, `1E400`, `true`, `"q\"b\\s\/\u00e9\ud83d\ude00"`, `[1, [2, [3]], {"a":{"b":{}}}]`,
		`"` + noise(9000) + `"`, `" {1,2} "`, `12345678901234567890123456789.10`,
	},
	"jsonb": {
		`{}`, `[]`, `""`, `{"b": 1, "a":[null,true], "b":2}`, `"null"`, `12.50`, `1.0`, `1.00`, `1E40`, `false`, `"q\"b\\s\/\u00e9\ud83d\ude00"`, `[1, [2, [3]], {"a":{"b":{}}}]`, `"` + noise(9000) + `"`, `"1"`,
		`12345678901234567890123456789.10`, `{"":" ", "'":"\\"}`, `"\t\n"`,
	},
	"jsonpath": {`$`, `$.a[*] ? (@ > "x")`, `strict $."k'\"".b.size()`, `lax $[0 to last]`},
	"xml":      {"", "<a>é</a>", `<?xml version="1.0"?><b x='1'>&amp; "q"</b>`, "text only", "<a/> <b/>", "<!-- c --><x><![CDATA[<]]></x>", "<l>" + noise(9000) + "</l>"},
	"uuid":     {"00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "ffffffff-ffff-ffff-ffff-ffffffffffff"},
	"date":     {"2024-02-29", "1970-01-01", "2000-01-01", "0001-01-01", "0001-12-31 BC", "4713-01-01 BC", "5874897-12-31", "10000-01-01", "infinity", "-infinity"},
	"time":     {"00:00:00", "24:00:00", "12:34:56.789", "23:59:59.999999"},
	"timetz":   {"00:00:00+00", "24:00:00-12", "12:34:56.7+05:30", "01:02:03+01:02:03", "01:02:03-00:30", "01:02:03.000001+15:59:59", "01:02:03-15:59:59"},
	"timestamp": {
		"2024-01-02 03:04:05.6", "1999-12-31 23:59:59.999999", "2000-01-01", "0001-01-01", "0044-03-15 12:00:00.5 BC", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "10000-01-01", "infinity", "-infinity",
	},
	"timestamptz": {
		"2024-01-02 03:04:05.6+00", "2024-01-02 03:04:05+02", "1999-12-31 23:59:59.999999+00", "0044-03-15 12:00:00+00 BC", "0001-12-31 23:59:59.9+00 BC", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00",
		"10000-01-01 00:00:00+00", "294276-12-31 23:59:59.999999+00", "4714-11-24 00:00:00+00 BC", "infinity", "-infinity",
	},
	"interval": {
		"0", "1 year 2 mons -3 days 04:05:06.7", "-1 year -2 mons +3 days -04:05:06.000001", "-1 day 1 second", "1 mon -1 second", "-1 mon 1 day", "100:00:00", "-00:00:00.5", "24:00:00", "1 day",
		"178956970 years 7 mons 2147483647 days 2562047788:00:54.775806", "-2147483648 days", "-178956970 years -8 mons", "30 days",
	},
	"inet":    {"1.2.3.4", "1.2.3.4/8", "0.0.0.0/0", "255.255.255.255", "::", "::1", "::ffff:1.2.3.4", "::1.2.3.4", "fe80::1:0:0:1/64", "1:0:0:2:0:0:0:3", "2001:db8::/0"},
	"cidr":    {"10.0.0.0/8", "1.2.3.4/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128", "::ffff:0:0/96"},
	"macaddr": {"08:00:2b:01:02:03", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"}, "macaddr8": {"08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff:ff:ff"},
	"bit": {"1", "0", "101", "10101010101"}, "varbit": {"", "1", "00000000", "10101010101", strings.Repeat("10", 9000)},
	"pg_lsn": {"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"}, "txid_snapshot": {"1:1:", "1:5:2,4"}, "pg_snapshot": {"1:3:", "1:5:2,4", "9223372036854775806:9223372036854775807:"},
	"point": {"(0,-0)", "(1,2)", "(1e300,5e-324)", "(NaN,Infinity)"}, "line": {"{1,-2.5,3}", "{0,1,-0.1}"}, "lseg": {"[(1,2),(3,4)]", "[(0,0),(0,0)]"},
	"box": {"(3,4),(1,2)", "(1,1),(0,0)", "(2,2),(1,1)"}, "path": {"[(1,2),(3,4)]", "((1,2),(3,4.5))", "((1,1))", "[" + strings.Repeat("(1,2),", 999) + "(0.1,3)]"},
	"polygon": {"((0,0),(1,1),(2,0))", "((1,2))", "((0,0),(1,1),(2,0.5))"}, "circle": {"<(1,2),3>", "<(0,0),0>", "<(4,5),3>"},
	"tsvector":   {"", "a", "'a' 'b':1A,2 'it''s':3B,4C 'back\\\\s':9", "'é':16383D 'x y'", "'" + noise(2000) + "'"},
	"tsquery":    {"", "a", "'a':*ABCD", "'a' & ('b' | !'c':A)", "(a <-> b) <3> c", "!a <-> !(b|c) <2> d:*B", "a <0> b", "'it''s' & 'b\\\\s'"},
	"int2vector": {"", "1 2 3", "-32768 32767"}, "oidvector": {"", "1 4294967295"},
	"refcursor": {"", "c", `q"u'o\te`}, "aclitem": {"=r/waybill", "waybill=arwdDxt/waybill", "waybill=r*w/waybill"},
	"regproc": {"now", "pg_catalog.array_in", "-"}, "regprocedure": {"abs(integer)", "-"}, "regoper": {"||/", "0"}, "regoperator": {"+(integer,integer)", "0"},
	"regclass": {"pg_class", "pg_catalog.pg_type", "-", "987654321"}, "regtype": {"integer", "timestamp with time zone", "bpchar", `"char"`, "text[]", "-"}, "regrole": {"waybill", "-"},
	"regnamespace": {"pg_catalog", "public", "-"}, "regcollation": {`"C"`, `"POSIX"`, "-"}, "regconfig": {"english", "simple"}, "regdictionary": {"simple", "english_stem"},

	"int4range": {"empty", "[1,5)", "(,)", "(,3)", "[3,)", "[-2147483648,2147483647)"}, "int8range": {"empty", "[1,9223372036854775807)", "(,)"},
	"numrange":  {"empty", "[1.50,2]", "(1,2.0)", "[NaN,NaN]", "(-Infinity,Infinity]", "(,)", "[1e50,)"},
	"daterange": {"empty", "[2024-01-01,2024-02-01)", "[2024-01-01,infinity)", "[-infinity,)", `["0044-03-15 BC",)`}, "tsrange": {"empty", `["2024-01-01 00:00:00","2024-01-02 03:04:05.6")`, "[-infinity,infinity]", "(,)"},
	"tstzrange": {"empty", `["2024-01-01 00:00:00+00",)`, `("0044-03-15 12:00:00+00 BC","10000-01-01 00:00:00+02"]`, "(,infinity)"},
}

// laterLiterals are values that a type has from a version on. (Where infinity is now, the servers
// before had the longest interval: that one is not carried.)
var laterLiterals = map[string]struct {
	since    int
	literals []string
}{
	"interval": {17, []string{"infinity", "-infinity"}},
}

// notStorable are types whose values only the server itself makes: their input functions refuse
// everything, which the test verifies, so that they cannot be written at any target. Null travels.
var notStorable = map[string]bool{
	"pg_node_tree": true, "pg_ndistinct": true, "pg_dependencies": true, "pg_mcv_list": true,
	"pg_brin_bloom_summary": true, "pg_brin_minmax_multi_summary": true, "gtsvector": true,
}

// readAsText are the built-in types that have no binary format which is the same everywhere: a
// connection that reads a table with one of them is in text as a whole.
var readAsText = map[string]bool{
	"pg_node_tree": true, "pg_ndistinct": true, "pg_dependencies": true, "pg_mcv_list": true, "pg_brin_bloom_summary": true,
	"pg_brin_minmax_multi_summary": true, "gtsvector": true, "aclitem": true, "int2vector": true, "oidvector": true,
	"regproc": true, "regprocedure": true, "regoper": true, "regoperator": true, "regclass": true, "regtype": true,
	"regrole": true, "regnamespace": true, "regcollation": true, "regconfig": true, "regdictionary": true,
}

// modified are types with modifiers.
var modified = []matrixType{
	{name: "varchar(5)", tag: "varchar_5", literals: []string{"", "abc", "abc  ", "漢字漢字漢"}, binary: true},
	{name: "char(4)", tag: "char_4", literals: []string{"", "ab", " a", "ab  ", "漢字漢字"}, binary: true},
	{name: "char", tag: "char_1", literals: []string{"", "x", "漢"}, binary: true},
	{name: "numeric(10,2)", tag: "numeric_10_2", literals: []string{"0", "1.1", "-99999999.99", "NaN"}, binary: true},
	{name: "numeric(15,5)", tag: "numeric_15_5", literals: []string{"0", "9999999999.99999", "-0.00001", "NaN", "1234567890.1"}, binary: true},
	{name: "numeric(16)", tag: "numeric_16", literals: []string{"0", "9007199254740993", "-9999999999999999"}, binary: true},
	{name: "numeric(38,10)", tag: "numeric_38_10", literals: []string{"0", "1234567890123456789012345678.0123456789", "NaN"}, binary: true},
	{name: "numeric(5,-2)", tag: "numeric_5__2", literals: []string{"0", "1234500", "-100"}, binary: true},
	{name: "numeric(2,6)", tag: "numeric_2_6", literals: []string{"0", "0.000012", "-0.000099"}, binary: true},
	{name: "numeric(3,400)", tag: "numeric_3_400", literals: []string{"0", "1.23e-398", "-1e-400"}, binary: true},
	{name: "numeric(4,-500)", tag: "numeric_4__500", literals: []string{"0", "1.234e503"}, binary: true},
	{name: "numeric(15,300)", tag: "numeric_15_300", literals: []string{"0", "1.23456789012345e-286", "-9.99999999999999e-286", "1e-300"}, binary: true},
	{name: "timestamp(3)", tag: "timestamp_3", literals: []string{"2024-01-02 03:04:05.123", "infinity"}, binary: true},
	{name: "timestamptz(0)", tag: "timestamptz_0", literals: []string{"2024-01-02 03:04:05+00", "-infinity"}, binary: true},
	{name: "time(2)", tag: "time_2", literals: []string{"03:04:05.12", "24:00:00"}, binary: true},
	{name: "timetz(1)", tag: "timetz_1", literals: []string{"03:04:05.1+02"}, binary: true},
	{name: "interval(3)", tag: "interval_3", literals: []string{"1 day 00:00:01.123", "-1 mon"}, binary: true},
	{name: "interval year to month", tag: "interval_ym", literals: []string{"1 year 2 mons", "-1 mon"}, binary: true},
	{name: "interval day to second(2)", tag: "interval_ds", literals: []string{"1 day 00:00:01.12", "-00:00:00.01"}, binary: true},
	{name: "interval hour", tag: "interval_h", literals: []string{"1 day 05:00:00"}, binary: true},
	{name: "bit(7)", tag: "bit_7", literals: []string{"0000000", "1010101"}, binary: true},
	{name: "varbit(9)", tag: "varbit_9", literals: []string{"", "101010101"}, binary: true},
	{name: "numeric(10,2)[]", tag: "_numeric_10_2", literals: []string{"{}", "{1.10,NULL,NaN}", "{{1.00},{2.50}}"}, binary: true},
	{name: "varchar(3)[]", tag: "_varchar_3", literals: []string{`{"",abc,"a  "}`}, binary: true},
	{name: "char(3)[]", tag: "_char_3", literals: []string{`{"",abc,"a"}`}, binary: true},
	{name: "timestamptz(0)[]", tag: "_timestamptz_0", literals: []string{`{"2024-01-02 03:04:05+00",infinity}`}, binary: true},
	{name: "interval(0)[]", tag: "_interval_0", literals: []string{`{"1 day 00:00:01"}`}, binary: true},
	{name: "bit(3)[]", tag: "_bit_3", literals: []string{`{101,000}`}, binary: true},
}

// ownTypesSQL makes the types of ownTypes; both servers run it.
const ownTypesSQL = `
create type mood as enum ('sad', 'ok', 'it''s "so"\ {,}', 'ümlaut', 'null', ' ');
create domain amount as numeric(10,2);
create domain word as text check (length(value) < 1000);
create domain sub_word as word;
create domain moody as mood;
create domain ints as int[];
create domain amounts as numeric(8,3)[];
create domain span as int4range;
create domain stamp as timestamptz;
create domain doc as json;
create type pair as (a int, b text, c timestamptz, d numeric(8,3));
create type nest as (p pair, q pair[], m mood, "odd ""Name""" bytea, n int[]);
create domain couple as pair;
create type frange as range (subtype = float8);
create type trange as range (subtype = text, collation = "C");
create type "Odd Type" as enum ('x', 'Y');
`

// ownTypes are the types that a user may make. Arrays of all of them are added.
var ownTypes = []matrixType{
	{name: "mood", literals: []string{"sad", "ok", `it's "so"\ {,}`, "ümlaut", "null", " "}, binary: true},
	{name: "amount", literals: []string{"0", "1.10", "-99999999.99", "NaN"}, binary: true},
	{name: "word", literals: awkward, binary: true},
	{name: "sub_word", literals: awkward, binary: true},
	{name: "moody", literals: []string{"sad", "ümlaut"}, binary: true},
	{name: "ints", literals: []string{"{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"}, binary: true},
	{name: "amounts", literals: []string{"{}", "{1.100,NaN}"}, binary: true},
	{name: "span", literals: []string{"empty", "[1,3)"}, binary: true},
	{name: "stamp", literals: []string{"2024-01-02 03:04:05.6+00", "infinity"}, binary: true},
	{name: "doc", literals: []string{`{"a": 1,  "a":2}`, `[1, 2]`, `"null"`}, binary: true},
	{name: "pair", literals: []string{"(,,,)", `(1,"a","2024-01-02 03:04:05+00",1.500)`, `(-1,"","infinity",NaN)`, `(0,"q""b\\s(,)é
",,)`}},
	{name: "nest", literals: []string{"(,,,,)", `("(1,""a b"",,2.5)","{""(1,x,,)"",NULL}","it's ""so""\\ {,}","\\x00ff","{1,NULL}")`, `("(,,,)","{}",,,"[0:1]={1,2}")`}},
	{name: "couple", literals: []string{`(1,"a",,)`}},
	{name: "frange", literals: []string{"empty", "[0.1,1e23)", "(-Infinity,NaN]", "(,)"}, binary: true},
	{name: "trange", literals: []string{"empty", `[a,b)`, `["q""u\\o","x,y)"]`, `("",z)`, "(,)"}, binary: true},
	{name: "fmultirange", literals: []string{"{}", "{[0.1,0.2),[1,)}"}, binary: true},
	{name: "tmultirange", literals: []string{"{}", `{[a,b),["c,d","e}")}`}, binary: true},
	{name: `"Odd Type"`, tag: "odd_type", literals: []string{"x", "Y"}, binary: true},
}

// extensions are types that PostgreSQL's own extensions bring.
var extensions = map[string][]matrixType{
	"citext": {{name: "citext", literals: awkward}},
	"hstore": {{name: "hstore", literals: []string{"", `"a"=>"1", "b"=>NULL`, `"q\"u"=>"\\ '{}',", ""=>""`}}},
	"ltree": {
		{name: "ltree", literals: []string{"", "Top", "Top.Science.Astronomy"}},
		{name: "lquery", literals: []string{"*.a{1,2}.!b|c@"}},
		{name: "ltxtquery", literals: []string{"a & !b@"}},
	},
	"cube":     {{name: "cube", literals: []string{"(1, 2, 3)", "(0),(1)", "(0.1, -5e-324),(1e300, 2)"}}},
	"seg":      {{name: "seg", literals: []string{"1.5", "0 .. 10", "<5", "~1.50"}}},
	"isn":      {{name: "isbn13", literals: []string{"978-0-393-04002-9"}}},
	"intarray": {{name: "query_int", literals: []string{"1&(2|!3)"}}},
}
