package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// The reference decoder is slow, built on encoding/json and written from the package's
// documentation; it shares no code with the decoder it judges.

type member struct {
	name string
	raw  json.RawMessage
}

func reference(data []byte) ([]waybill.Change, error) {
	if !utf8.Valid(data) || !json.Valid(data) || loneSurrogate(data) {
		return nil, errors.New("not I-JSON")
	}
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil || items == nil {
		return nil, fmt.Errorf("not an array: %w", err)
	}
	changes := []waybill.Change{}
	for _, item := range items {
		c, err := referenceChange(item)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
	return changes, nil
}

func referenceChange(item []byte) (c waybill.Change, err error) {
	fields, err := members(item)
	if err != nil {
		return c, err
	}
	for _, f := range fields {
		switch f.name {
		case "entity":
			if f.raw[0] != '"' {
				return c, errors.New("entity")
			}
			err = json.Unmarshal(f.raw, &c.Entity)
		case "op":
			var op string
			if err = json.Unmarshal(f.raw, &op); err == nil {
				var ok bool
				if c.Op, ok = waybill.ParseOp(op); !ok {
					err = errors.New("op")
				}
			}
		case "key":
			c.Key, err = referenceRow(f.raw)
		case "row":
			c.Row, err = referenceRow(f.raw)
		case "before":
			c.Before, err = referenceRow(f.raw)
		default:
			err = errors.New("unknown field")
		}
		if err != nil {
			return c, err
		}
	}
	if c.Entity == "" || strings.Contains(c.Entity, "\x00") || c.Op == 0 || len(c.Key) == 0 {
		return c, errors.New("incomplete")
	}
	if c.Op == waybill.Delete {
		if len(c.Row) > 0 {
			return c, errors.New("delete with a row")
		}
		c.Row = nil
	} else if c.Row == nil {
		return c, errors.New("no row")
	}
	return c, referenceKey(&c)
}

func referenceKey(c *waybill.Change) error {
	for _, k := range c.Key {
		if k.Value.IsNull() || strings.ContainsAny(string(k.Value.Raw[:1]), "[{") {
			return errors.New("key is no scalar")
		}
		if v, ok := c.Row.Get(k.Name); ok && (c.Op == waybill.Insert || c.Op == waybill.Upsert) {
			var a, b string
			same := json.Unmarshal(v.Raw, &a) == nil && json.Unmarshal(k.Value.Raw, &b) == nil && a == b
			if !same && !bytes.Equal(v.Raw, k.Value.Raw) {
				return errors.New("key differs in row")
			}
		}
	}
	return nil
}

func referenceRow(raw []byte) (waybill.Row, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	cols, err := members(raw)
	if err != nil {
		return nil, err
	}
	row := waybill.Row{}
	for _, m := range cols {
		if m.name == "" || strings.Contains(m.name, "\x00") || depth(m.raw) > 64 {
			return nil, errors.New("column")
		}
		col := waybill.Column{Name: m.name}
		if string(m.raw) != "null" {
			col.Value = waybill.Value{Form: waybill.JSON, Raw: m.raw}
		}
		row = append(row, col)
	}
	return row, nil
}

// members lists an object's members in order; a duplicate is an error.
func members(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	seen := map[string]bool{}
	var list []member
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: tok.(string)}
		if seen[m.name] {
			return nil, errors.New("duplicate")
		}
		seen[m.name] = true
		if err := dec.Decode(&m.raw); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

func depth(raw []byte) int {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	deepest, now := 0, 0
	for {
		tok, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

var escape = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|[^u])`)

func loneSurrogate(data []byte) bool {
	end, high := -1, false
	for _, at := range escape.FindAllIndex(data, -1) {
		var r rune
		if at[1]-at[0] == 6 {
			n, _ := strconv.ParseUint(string(data[at[0]+2:at[1]]), 16, 16)
			r = rune(n)
		}
		low := utf16.IsSurrogate(r) && r >= 0xDC00
		if low != (high && at[0] == end) || high && at[0] != end {
			return true
		}
		high = utf16.IsSurrogate(r) && !low
		end = at[1]
	}
	return high
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// judge compares the decoder with the reference, and decodes what it encodes.
func judge(t failer, d *envelope.Decoder, data []byte) {
	t.Helper()
	got, err := d.Decode(data)
	want, wantErr := reference(data)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q:\ngot  %v\nwant %v", data, err, wantErr)
	}
	if err != nil {
		if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Fatalf("%q: error is not one clean line: %q", data, err)
		}
		return
	}
	requireEqual(t, got, want)
	again, err := envelope.DecodeChanges(envelope.AppendChanges(nil, got))
	if err != nil {
		t.Fatalf("%q: what was encoded is not taken: %v", data, err)
	}
	requireEqual(t, again, got)
	for i := range got {
		for _, col := range got[i].Row {
			judgeValue(t, col.Value)
		}
	}
}

func judgeValue(t failer, v waybill.Value) {
	t.Helper()
	if v.IsNull() {
		return
	}
	var std bytes.Buffer
	if err := json.Compact(&std, v.Raw); err != nil || !bytes.Equal(std.Bytes(), envelope.Compact(v.Raw)) {
		t.Fatalf("compact %q: got %q, want %q (%v)", v.Raw, envelope.Compact(v.Raw), std.Bytes(), err)
	}
	if envelope.KindOf(v.Raw) != envelope.String {
		return
	}
	var want string
	if err := json.Unmarshal(v.Raw, &want); err != nil {
		t.Fatalf("unmarshal %q: %v", v.Raw, err)
	}
	if got, ok := envelope.Text(v.Raw); !ok || string(got) != want {
		t.Fatalf("text of %q: got %q %v, want %q", v.Raw, got, ok, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(envelope.AppendChanges(nil, wireForm))
	f.Add([]byte(message))
	f.Add([]byte(`[{"op":"upsert","key":{"id":"\u0041\ud83d\ude00"},"row":{"x": {"a" : 1, "a":[2,-0.1e+5,true,null]}},"entity":"a","before":null}]`))
	f.Add([]byte(`[{"op":"delete","key":{"id":1},"row":{},"entity":"a"},{}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		judge(t, new(envelope.Decoder), data)
		_, _ = envelope.Text(data)
		_ = envelope.Compact(data)
		_ = envelope.KindOf(data)
	})
}

// Messages that are nearly or wholly right, which random bytes seldom are.
func TestDecodeAgainstReference(t *testing.T) {
	var d envelope.Decoder
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		msg := drawMessage(t)
		if rapid.IntRange(0, 3).Draw(t, "damage") == 0 {
			msg = damage(t, msg)
		}
		if _, err := reference(msg); err == nil {
			taken++
		}
		judge(t, &d, msg)
	})
	if taken == 0 {
		t.Error("no message was right")
	}
}

func damage(t *rapid.T, msg []byte) []byte {
	i := rapid.IntRange(0, len(msg)-1).Draw(t, "at")
	with := rapid.SampledFrom([]string{"", ",", `"`, "{", "}", "[", "]", ":", "0", "-", `\`, `\u`, `\ud800`, "\x00", "\xff", "null", " ", "é"}).Draw(t, "with")
	skip := rapid.IntRange(0, 1).Draw(t, "skip")
	return append(append(append([]byte{}, msg[:i]...), with...), msg[i+skip:]...)
}

// drawMessage writes JSON of its own making: white space, escapes and the order of fields vary.
func drawMessage(t *rapid.T) []byte {
	var b strings.Builder
	b.WriteString("[")
	for i := range rapid.IntRange(0, 3).Draw(t, "changes") {
		if i > 0 {
			b.WriteString(",")
		}
		op := rapid.SampledFrom([]string{"insert", "update", "upsert", "delete", "truncate"}).Draw(t, "op")
		fields := []string{`"entity":` + drawString(t), `"op":"` + op + `"`, `"key":` + drawRow(t, 1, false)}
		if op != "delete" {
			fields = append(fields, `"row":`+drawRow(t, 0, true))
		}
		if rapid.Bool().Draw(t, "before") {
			fields = append(fields, `"before":`+rapid.SampledFrom([]string{"null", drawRow(t, 0, true)}).Draw(t, "b"))
		}
		b.WriteString("{" + drawSpace(t) + strings.Join(rapid.Permutation(fields).Draw(t, "fields"), ","+drawSpace(t)) + "}")
	}
	b.WriteString("]" + drawSpace(t))
	return []byte(b.String())
}

func drawSpace(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", " ", "\n\t", "\r"}).Draw(t, "space")
}

func drawString(t *rapid.T) string {
	return `"` + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "b", "c", "id", "ü", "漢", "😀", `\"`, `\\`, `\/`, `\n`, `\u0041`, `\ud83d\ude00`, `\uFFFD`, "\u2028",
	}), 1, 4).Draw(t, "string"), "") + `"`
}

func drawRow(t *rapid.T, least int, nested bool) string {
	cols := make([]string, rapid.IntRange(least, 5).Draw(t, "columns"))
	for i := range cols {
		value := rapid.SampledFrom([]string{"1", "-0.50", "1e400", "true", "false", drawString(t)}).Draw(t, "scalar")
		if nested && rapid.Bool().Draw(t, "nested") {
			value = rapid.SampledFrom([]string{
				"null", "[]", "{}", "[ 1, " + value + "]", `{"a" :` + value + `,"a": null}`,
				strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65),
			}).Draw(t, "value")
		}
		cols[i] = drawString(t) + drawSpace(t) + ":" + drawSpace(t) + value
	}
	return "{" + strings.Join(cols, ",") + "}"
}
