package envelope_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

func jsonValue(raw string) waybill.Value {
	return waybill.Value{Form: waybill.JSON, Raw: []byte(raw)}
}

// wireForm is what testdata/wire.json holds; the file may only ever be added to.
var wireForm = []waybill.Change{
	{
		Entity: "customer", Op: waybill.Insert,
		Key: waybill.Row{{Name: "id", Value: jsonValue("42")}},
		Row: waybill.Row{
			{Name: "name", Value: jsonValue(`"Ann \"A\" Ünal \ud83d\ude00"`)},
			{Name: "credit", Value: jsonValue("12345678901234567890.10")},
			{Name: "rate", Value: jsonValue("1E-7")},
			{Name: "active", Value: jsonValue("true")},
			{Name: "born", Value: waybill.Value{}},
			{Name: "tags", Value: jsonValue(`["a",{"b":null}]`)},
		},
	},
	{
		Entity: "crm.phone", Op: waybill.Update,
		Key:    waybill.Row{{Name: "customer", Value: jsonValue(`"x-1"`)}, {Name: "n", Value: jsonValue("1")}},
		Row:    waybill.Row{{Name: "n", Value: jsonValue("2")}},
		Before: waybill.Row{{Name: "number", Value: jsonValue(`"+358 1"`)}, {Name: "note", Value: waybill.Value{}}},
	},
	{
		Entity: "we\"ird\n", Op: waybill.Upsert,
		Key:    waybill.Row{{Name: "ключ", Value: jsonValue("false")}},
		Row:    waybill.Row{},
		Before: waybill.Row{},
	},
	{
		Entity: "customer", Op: waybill.Delete,
		Key: waybill.Row{{Name: "id", Value: jsonValue("-0.5e+3")}},
	},
}

func TestGoldenWireForm(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "wire.json"))
	if err != nil {
		t.Fatal(err)
	}
	golden = []byte(strings.TrimSuffix(string(golden), "\n"))
	if got := envelope.AppendChanges(nil, wireForm); string(got) != string(golden) {
		t.Errorf("encoded:\n%s\nwant:\n%s", got, golden)
	}
	got, err := envelope.DecodeChanges(golden)
	if err != nil {
		t.Fatal(err)
	}
	requireEqual(t, got, wireForm)
}

func requireEqual(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []waybill.Change,
) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d changes, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Entity != w.Entity || g.Op != w.Op || !g.Key.Equal(w.Key) || !g.Row.Equal(w.Row) ||
			!g.Before.Equal(w.Before) || (g.Before == nil) != (w.Before == nil) {
			t.Fatalf("change %d:\ngot  %s\nwant %s", i+1, describe(g), describe(w))
		}
	}
}

func describe(c waybill.Change) string {
	return fmt.Sprintf("%q %s key %s row %s before %s", c.Entity, c.Op, c.Key, c.Row, c.Before)
}

func TestDecodeRefuses(t *testing.T) {
	const ok = `{"entity":"a","op":"delete","key":{"id":1}}`
	deep := strings.Repeat("[", envelope.MaxDepth+1) + strings.Repeat("]", envelope.MaxDepth+1)
	for _, tc := range []struct{ in, want string }{
		{``, `changes are not a JSON array`},
		{`null`, `changes are not a JSON array`},
		{ok, `changes are not a JSON array`},
		{"\ufeff[]", `changes are not a JSON array`},
		{"[\"\xff\"]", `changes are not valid UTF-8`},
		{`[`, `change 1: JSON ends too early at byte 1`},
		{`[]]`, `not valid JSON, something follows the array at byte 2`},
		{`[` + ok + `,]`, `change 2: not valid JSON, a value was expected at byte 45`},
		{`[` + ok + ok + `]`, `change 1 (a): not valid JSON, a comma or ] was expected at byte 44`},
		{`[` + ok + `,7]`, `change 2: it is not a JSON object`},
		{`[{}]`, `change 1: field entity is missing`},
		{`[{"op":"delete","key":{"id":1}}]`, `change 1: field entity is missing`},
		{`[{"entity":"","op":"delete","key":{"id":1}}]`, `change 1: entity is empty`},
		{`[{"entity":7,"op":"delete","key":{"id":1}}]`, `change 1: entity is not a string`},
		{`[{"entity":null,"op":"delete","key":{"id":1}}]`, `change 1: entity is not a string`},
		{`[{"entity":"a\u0000","op":"delete","key":{"id":1}}]`, `change 1: entity contains the character U+0000`},
		{`[{"entity":"a","key":{"id":1}}]`, `change 1 (a): field op is missing`},
		{`[{"entity":"a","op":null,"key":{"id":1}}]`, `change 1 (a): op is not a string`},
		{`[` + ok + `,` + ok + `,{"entity":"a","op":"upsrt","key":{"id":1}}]`, `change 3 (a): op "upsrt" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":"Delete","key":{"id":1}}]`, `change 1 (a): op "Delete" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":"` + strings.Repeat("é", 99) + `","key":{"id":1}}]`, `change 1 (a): op "` + strings.Repeat("é", 40) + `…" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":"delete"}]`, `change 1 (a): key is missing or empty`},
		{`[{"entity":"a","op":"delete","key":null}]`, `change 1 (a): key is missing or empty`},
		{`[{"entity":"a","op":"delete","key":{}}]`, `change 1 (a): key is missing or empty`},
		{`[{"entity":"a","op":"delete","key":[1]}]`, `change 1 (a): key is not a JSON object`},
		{`[{"entity":"a","op":"delete","key":{"id":null}}]`, `change 1 (a): key column "id" is null`},
		{`[{"entity":"a","op":"delete","key":{"id":{}}}]`, `change 1 (a): key column "id" is not a string, number or boolean`},
		{`[{"entity":"a","op":"delete","key":{"id":[1]}}]`, `change 1 (a): key column "id" is not a string, number or boolean`},
		{`[{"entity":"a","op":"delete","key":{"id":1},"row":{"x":1}}]`, `change 1 (a): a delete has no row (what was deleted goes into before)`},
		{`[{"entity":"a","op":"upsert","key":{"id":1}}]`, `change 1 (a): row is missing, upsert needs it`},
		{`[{"entity":"a","op":"update","key":{"id":1},"row":null}]`, `change 1 (a): row is missing, update needs it`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":3}]`, `change 1 (a): row is not a JSON object`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{},"before":true}]`, `change 1 (a): before is not a JSON object`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"id":2}}]`, `change 1 (a): column "id" has one value in key and another in row, which upsert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":null}}]`, `change 1 (a): column "id" has one value in key and another in row, which insert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":1.0}}]`, `change 1 (a): column "id" has one value in key and another in row, which insert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"delete","key":{"id":1},"key":{"id":1}}]`, `change 1 (a): field "key" stands there twice`},
		{`[{"entity":"a","\u006fp":"delete","op":"delete","key":{"id":1}}]`, `change 1 (a): field "op" stands there twice`},
		{`[{"entity":"a","op":"delete","key":{"id":1},"rows":{}}]`, `change 1 (a): field "rows" is none of entity, op, key, row, before`},
		{`[{"entity":"a","op":"delete","key":{"id":1,"i\u0064":2}}]`, `change 1 (a): column "id" stands in key twice`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":1,"y":2,"x":3}}]`, `change 1 (a): column "x" stands in row twice`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"":1}}]`, `change 1 (a): row has a column whose name is empty or contains the character U+0000`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":` + deep + `}}]`, `change 1 (a): column "x" in row: a value nests deeper than 64 at byte 119`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":01}}]`, `change 1 (a): column "x" in row: not valid JSON, a number begins with 0 at byte 55`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":"\ud800"}}]`, `change 1 (a): column "x" in row: not valid JSON, escape sequence that stands for no character at byte 56`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":"\udc00\ud800"}}]`, `change 1 (a): column "x" in row: not valid JSON, escape sequence that stands for no character at byte 56`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":"\udc00\udc00"}}]`, `change 1 (a): column "x" in row: not valid JSON, escape sequence that stands for no character at byte 56`},
		{"[{\"entity\":\"a\",\"op\":\"upsert\",\"key\":{\"id\":1},\"row\":{\"x\":\"\n\"}}]", `change 1 (a): column "x" in row: not valid JSON, control character in a string at byte 56`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":NaN}}]`, `change 1 (a): column "x" in row: not valid JSON, a value was expected at byte 55`},
	} {
		got, err := envelope.DecodeChanges([]byte(tc.in))
		if err == nil {
			t.Errorf("%s was taken: %v", tc.in, got)
		} else if err.Error() != tc.want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.in, err, tc.want)
		}
	}
}

// A message cut off anywhere is never taken, and says so.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	whole := envelope.AppendChanges(nil, wireForm)
	for n := range whole {
		if _, err := envelope.DecodeChanges(whole[:n]); err == nil {
			t.Fatalf("prefix of %d bytes was taken: %s", n, whole[:n])
		}
	}
}

func TestDecodeTakes(t *testing.T) {
	for in, want := range map[string]string{
		` [ ] `: `[]`,
		// As PostgreSQL writes jsonb.
		`[{"op": "delete", "key": {"id": 1}, "row": null, "before": null, "entity": "a"}]`: `[{"entity":"a","op":"delete","key":{"id":1}}]`,
		`[{"op":"delete","key":{"id":true},"row":{},"entity":"a"}]`:                        `[{"entity":"a","op":"delete","key":{"id":true}}]`,
		// The same text written differently is the same key.
		`[{"op":"upsert","key":{"id":"A"},"row":{"id":"\u0041"},"entity":"a"}]`: `[{"entity":"a","op":"upsert","key":{"id":"A"},"row":{"id":"\u0041"}}]`,
		// An update may change a key.
		`[{"op":"update","key":{"id":1},"row":{"id":2},"entity":"a"}]`: `[{"entity":"a","op":"update","key":{"id":1},"row":{"id":2}}]`,
		// Inside a value duplicate names and white space stay as they are.
		`[{"op":"upsert","key":{"id":1},"row":{"x": {"a" : 1, "a":2}},"entity":"a"}]`: `[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":{"a" : 1, "a":2}}}]`,
	} {
		got, err := envelope.DecodeChanges([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if out := string(envelope.AppendChanges(nil, got)); out != want {
			t.Errorf("%s\ngot  %s\nwant %s", in, out, want)
		}
		for _, c := range got {
			if (c.Row == nil) != (c.Op == waybill.Delete) {
				t.Errorf("%s: row of %s is %v", in, c.Op, c.Row)
			}
		}
	}
}

// Rows of any width find their duplicates, wherever they stand.
func TestDuplicateColumnsOfWideRows(t *testing.T) {
	for _, width := range []int{1, 2, 63, 64, 65, 66, 500, 3000} {
		for _, twin := range []int{0, width / 2, width - 1} {
			row := make([]string, width)
			for i := range row {
				row[i] = fmt.Sprintf(`"column_%d":%d`, i, i)
			}
			msg := `[{"entity":"a","op":"upsert","key":{"id":1},"row":{` + strings.Join(row, ",") + `%s}}]`
			if _, err := envelope.DecodeChanges([]byte(fmt.Sprintf(msg, ""))); err != nil {
				t.Fatalf("width %d: %v", width, err)
			}
			want := fmt.Sprintf(`change 1 (a): column "column_%d" stands in row twice`, twin)
			if _, err := envelope.DecodeChanges([]byte(fmt.Sprintf(msg, ","+row[twin]))); err == nil || err.Error() != want {
				t.Fatalf("width %d: got %v, want %s", width, err, want)
			}
		}
	}
}

// What a Decoder returned is not touched by what it decodes later, errors included.
func TestDecoderResultsStayValid(t *testing.T) {
	var d envelope.Decoder
	type result struct {
		got  waybill.ChangeList
		want string
	}
	var results []result
	for i := range 500 {
		msg := fmt.Sprintf(`[{"entity":"e%d","op":"upsert","key":{"id":%d},"row":{"c%d":%d,"s":"t%d"},"before":{"s":null}},{"entity":"x","op":"delete","key":{"id":%d}}]`,
			i%700, i, i, i, i, i)
		if i%3 == 0 {
			if _, err := d.Decode([]byte(msg[:len(msg)-2])); err == nil {
				t.Fatal("a cut message was taken")
			}
		}
		got, err := d.Decode([]byte(msg))
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, result{got, msg})
	}
	for _, r := range results {
		if got := string(envelope.AppendChanges(nil, r.got)); got != r.want {
			t.Fatalf("got  %s\nwant %s", got, r.want)
		}
		_ = append(r.got[0].Row, waybill.Column{Name: "appended"}) // must not reach a neighbour
		_ = append(r.got[0].Row[0].Value.Raw, "appended"...)
		_ = append(r.got, waybill.Change{})
	}
	for _, r := range results {
		if got := string(envelope.AppendChanges(nil, r.got)); got != r.want {
			t.Fatalf("after appending: got  %s\nwant %s", got, r.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"a"`: "a", `"ä\n\"\\\/\b\f\r\t\u0041\u00e9😀\ud83d\ude00\u0000"`: "ä\n\"\\/\b\f\r\tAé😀😀\x00",
	} {
		got, ok := envelope.Text([]byte(in))
		if !ok || string(got) != want {
			t.Errorf("%s: got %q %v, want %q", in, got, ok, want)
		}
		var std string
		if err := json.Unmarshal([]byte(in), &std); err != nil || std != want {
			t.Errorf("%s: encoding/json reads %q %v", in, std, err)
		}
		if got, ok := envelope.AppendText([]byte("x"), []byte(in)); !ok || string(got) != "x"+want {
			t.Errorf("append %s: got %q %v", in, got, ok)
		}
	}
	for _, in := range []string{``, `"`, `7`, `null`, `"\"`, `"\x"`, `"\u12"`, `"\ud800"`, `"\udc00"`, `"\ud800\u0041"`, `"a"b"`, `"\n"b"`, `"a"b\n"`, `"\udc00\udc00"`, `"\ud800\ud800"`} {
		if got, ok := envelope.Text([]byte(in)); ok {
			t.Errorf("%s was read as %q", in, got)
		}
		if got, ok := envelope.AppendText([]byte("x"), []byte(in)); ok || string(got) != "x" {
			t.Errorf("append %s: got %q %v", in, got, ok)
		}
	}
	plain, escaped := []byte(`"no escape in here"`), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(10, func() {
		_, _ = envelope.Text(plain)
		escaped, _ = envelope.AppendText(escaped[:0], []byte(`"a\nb"`))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKindOf(t *testing.T) {
	for in, want := range map[string]envelope.Kind{
		`"a"`: envelope.String, `-1`: envelope.Number, `9`: envelope.Number, `true`: envelope.Bool,
		`false`: envelope.Bool, `{}`: envelope.Object, `[]`: envelope.Array, `null`: envelope.Invalid, ``: envelope.Invalid,
	} {
		if got := envelope.KindOf([]byte(in)); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestCompact(t *testing.T) {
	for in, want := range map[string]string{
		`1.0`: `1.0`, `{ "a b" : [ 1 , 2.50 ,"\" ,"] }`: `{"a b":[1,2.50,"\" ,"]}`, "[\n\t]": `[]`, `{"a":{}}`: `{"a":{}}`,
	} {
		if got := string(envelope.Compact([]byte(in))); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// A reader's memory goes into few, bounded pieces: the names are allocated once.
func TestDecoderAllocatesLittle(t *testing.T) {
	var d envelope.Decoder
	msg := []byte(message)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := d.Decode(msg); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations a message", n)
	}
}
