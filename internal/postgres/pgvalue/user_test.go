package pgvalue

import (
	"testing"
)

// TestUserTypesAgainstServer has types that the catalog of a database adds.
func TestUserTypesAgainstServer(t *testing.T) {
	conn := connect(t)
	if _, err := conn.Exec(t.Context(), `
		create type mood as enum ('so so', 'ok', '"x\y"');
		create domain price as numeric(10,2);
		create domain tags as text[];
		create type pair as (a int, b text);
		create type words as range (subtype = text, multirange_type_name = manywords);
	`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	text, _ := Builtin(25)
	texts, _ := Builtin(1009)
	mood := New(90001, 0, "mood", -1, Enum, nil, 0)
	words := New(90002, 0, "words", -1, Range, text, 0)
	pair := New(90003, 0, "pair", -1, Composite, nil, 0)
	price := New(90004, 1700, "price", -1, Base, nil, 0)
	for _, c := range []struct {
		typ     *Type
		literal string
		binary  bool
		json    string
	}{
		{mood, `'so so'::mood`, true, `"so so"`},
		{New(1, 0, "mood[]", -1, Array, mood, ','), `array['"x\y"','so so',null]::mood[]`, true, `["\"x\\y\"","so so",null]`},
		{price, `1.5::price`, true, `1.50`},
		{New(1, 0, "price[]", -1, Array, price, 0), `array[1.5,2]::price[]`, true, `[1.50,2.00]`},
		{New(1, 1009, "tags", -1, Array, texts.Element, ','), `'{a,"b c"}'::tags`, true, `["a","b c"]`},
		{pair, `row(1,'a "b"')::pair`, false, `"(1,\"a \"\"b\"\"\")"`},
		{New(1, 0, "pair[]", -1, Array, pair, ','), `array[row(1,'x y')::pair, null]`, false, `["(1,\"x y\")",null]`},
		{words, `words('', 'a"b\c')`, true, `"[\"\",\"a\"\"b\\\\c\")"`},
		{words, `words('(', ',')`, true, `"[\"(\",\",\")"`},
		{words, `words('a b', null, '()')`, true, `"(\"a b\",)"`},
		{New(1, 0, "words[]", -1, Array, words, ','), `array[words('a', 'b "c"')]`, true, `["[a,\"b \"\"c\"\"\")"]`},
		{New(1, 0, "manywords", -1, Multirange, words, 0), `manywords(words('a b', 'c'), words('d', null))`, true, `"{[\"a b\",c),[d,)}"`},
		{New(1, 0, "manywords", -1, Multirange, text, 0), `manywords(words('a', 'c'))`, true, `"{[a,c)}"`},
		{&Type{OID: 23, Under: 23, Name: "integer"}, `42`, true, `42`}, // made without New
		{New(1, 0, "strange", -1, Array, nil, 0), `'{1}'::int[]`, false, `"{1}"`},
	} {
		values, err := fetch(t, conn, "select "+c.literal)
		if err != nil {
			t.Fatal(c.literal, err)
		}
		if c.typ.HasBinary() != c.binary {
			t.Errorf("%s: HasBinary is %v", c.typ.Name, !c.binary)
		}
		if got := checkValue(t, c.typ, values[0]); got != c.json {
			t.Errorf("%s: %s, want %s", c.literal, got, c.json)
		}
	}
}
