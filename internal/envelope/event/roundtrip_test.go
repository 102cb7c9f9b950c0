package event_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
	"github.com/waybill-data/waybill/internal/envelope/spill"
)

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// knows finds these schemas by their hash.
func knows(list ...*waybill.Schema) func(string) (*waybill.Schema, error) {
	return func(hash string) (*waybill.Schema, error) {
		for _, s := range list {
			if event.SchemaHash(s) == hash {
				return s, nil
			}
		}
		return nil, errors.New("unknown schema " + hash)
	}
}

func requireEqual(t tester, got, want event.Event) {
	t.Helper()
	requireChanges(t, got.Changes, want.Changes)
	requireSchema(t, got.Schema, want.Schema)
	if want.ID == "" || want.Kind == event.Schema {
		got.ID, want.ID = "", ""
	}
	if want.Kind == event.Position || want.Kind == event.Schema {
		want.Name = ""
	}
	got.Changes, want.Changes, got.Schema, want.Schema = nil, nil, nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func requireChanges(t tester, got, want []waybill.Change) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d changes, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Entity != w.Entity || g.Op != w.Op || !g.Key.Equal(w.Key) || !g.Row.Equal(w.Row) ||
			!g.Before.Equal(w.Before) || (g.Before == nil) != (w.Before == nil) {
			t.Fatalf("change %d:\ngot  %s %s %s %s %s\nwant %s %s %s %s %s", i+1, g.Entity, g.Op, g.Key, g.Row, g.Before, w.Entity, w.Op, w.Key, w.Row, w.Before)
		}
		requireSchema(t, g.Schema, w.Schema)
	}
}

func requireSchema(t tester, got, want *waybill.Schema) {
	t.Helper()
	if (got == nil) != (want == nil) || got != nil && string(event.AppendSchema(nil, got)) != string(event.AppendSchema(nil, want)) {
		t.Fatalf("schema: got %+v\nwant %+v", got, want)
	}
}

// What is written is read back as it was, whatever it is.
func TestRoundTrip(t *testing.T) {
	var enc event.Encoder
	var used []*waybill.Schema
	dec := event.NewDecoder(func(hash string) (*waybill.Schema, error) { return knows(used...)(hash) })
	rapid.Check(t, func(t *rapid.T) {
		ev := drawEvent(t)
		used = nil
		enc.Schemas = func(hash string, s *waybill.Schema) error {
			if hash != event.SchemaHash(s) {
				t.Fatalf("schema under the wrong hash")
			}
			used = append(used, s)
			return nil
		}
		message, err := enc.AppendEvent([]byte("before"), &ev)
		if err != nil {
			t.Fatal(err)
		}
		message = message[len("before"):]
		got, err := dec.Decode(message)
		if err != nil {
			t.Fatalf("%v: %s", err, message)
		}
		requireEqual(t, got, ev)
		again, err := new(event.Encoder).AppendEvent(nil, &got)
		if err != nil || string(again) != string(message) {
			t.Fatalf("written again (%v):\ngot  %s\nwant %s", err, again, message)
		}
	})
}

// An action in parts is the action, whatever the limit, through spill too.
func TestPartsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	var enc event.Encoder
	rapid.Check(t, func(t *rapid.T) {
		head := drawEvent(t)
		head.Kind, head.ID, head.Attempt = event.Part, "a/1", "x\""
		var changes waybill.ChangeList
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			changes = append(changes, drawChange(t))
		}
		limit := rapid.IntRange(1, 3000).Draw(t, "limit")
		total, largest, err := enc.Sizes(changes)
		if err != nil {
			t.Fatal(err)
		}
		var known []*waybill.Schema
		enc.Schemas = func(_ string, s *waybill.Schema) error { known = append(known, s); return nil }
		dec := event.NewDecoder(func(hash string) (*waybill.Schema, error) { return knows(known...)(hash) })
		built := spill.New(dir, rapid.IntRange(1, 5000).Draw(t, "bound"))
		built.Decoder = dec.Again
		defer built.Close()
		var n uint32
		data, ended, biggest := 2, false, 0
		err = enc.Parts(&head, "before", changes, limit, func(message []byte, last bool) error {
			message = append([]byte{}, message...)
			n++
			got, err := dec.Decode(message)
			if err != nil {
				t.Fatalf("%v: %s", err, message)
			}
			want := head
			want.Part, want.Last, want.Changes, want.Schema = n, last, got.Changes, nil
			if !last {
				want.Position = "before"
			}
			requireEqual(t, got, want)
			if ended || len(message) > limit && len(got.Changes) > 1 || !last && len(got.Changes) == 0 {
				t.Fatalf("part %d of %d changes and %d bytes (limit %d)", n, len(got.Changes), len(message), limit)
			}
			bytes := len(message) - strings.Index(string(message), `,"data":[`) - len(`,"data":[`) - len(`]}`)
			if data += bytes; n > 1 {
				data += len(`,`)
			}
			if len(got.Changes) == 1 {
				biggest = max(biggest, bytes)
			}
			ended = last
			return built.Append(message, got.Changes)
		})
		if err != nil || !ended {
			t.Fatalf("%v, ended %v", err, ended)
		}
		if data != total || biggest > largest || largest > total {
			t.Fatalf("sizes said %d, at most %d; it was %d, at most %d", total, largest, data, biggest)
		}
		var got waybill.ChangeList
		for c, err := range built.All() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, *c)
		}
		requireChanges(t, got, changes)
	})
}

var texts = rapid.SampledFrom([]string{
	"a", "customer.created", "waybill.action", "waybill.x", "ü漢😀", `q"uo\te`, "\t", " ", "x y ", "\x00", "\u2028", "a/b", "<&>",
	strings.Repeat("long ", 300),
})

func drawEvent(t *rapid.T) event.Event {
	ev := event.Event{
		Kind:     event.Kind(rapid.IntRange(0, 3).Draw(t, "kind")),
		Source:   texts.Draw(t, "source"),
		Seq:      rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, "seq"),
		Trace:    rapid.SampledFrom([]string{"", traceID}).Draw(t, "trace"),
		Position: waybill.Position(rapid.SampledFrom([]string{"", `{"v":1,"x":"\""}`, "p"}).Draw(t, "position")),
		Name:     rapid.OneOf(rapid.Just(""), texts).Draw(t, "name"),
	}
	if rapid.Bool().Draw(t, "timed") {
		ev.Time = time.Unix(rapid.Int64Range(-62135596799, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	}
	switch ev.Kind {
	case event.Part:
		ev.Attempt, ev.Part, ev.Last = texts.Draw(t, "attempt"), uint32(rapid.IntRange(1, 1<<31-1).Draw(t, "part")), rapid.Bool().Draw(t, "last")
		fallthrough
	case event.Action:
		ev.ID = texts.Draw(t, "id")
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			ev.Changes = append(ev.Changes, drawChange(t))
		}
	case event.Position:
		ev.Position += "p"
	case event.Schema:
		ev.Schema = drawSchema(t, nil)
	}
	return ev
}

func drawChange(t *rapid.T) waybill.Change {
	c := waybill.Change{
		Entity: rapid.SampledFrom([]string{"customer", "a.b", `e"\` + "\n", "ключ"}).Draw(t, "entity"),
		Op:     waybill.Op(rapid.IntRange(int(waybill.Insert), int(waybill.Truncate)).Draw(t, "op")),
		Key:    drawRow(t, "key ", 1, rapid.SampledFrom([]string{"1", "-0.50e+9", `"x\u0041"`, "true", "1.0e400", `""`})),
	}
	if c.Op == waybill.Truncate {
		c.Key = nil
		if rapid.Bool().Draw(t, "schema known") {
			c.Schema = drawSchema(t, nil)
		}
		return c
	}
	if c.Op != waybill.Delete {
		c.Row = drawRow(t, "", 0, values)
		if rapid.Bool().Draw(t, "key in row") {
			c.Row = append(c.Row, c.Key[0])
		}
	}
	if rapid.Bool().Draw(t, "before known") {
		c.Before = drawRow(t, "", 0, values)
	}
	if rapid.Bool().Draw(t, "schema known") {
		c.Schema = drawSchema(t, c.Row)
		if rapid.Bool().Draw(t, "keyless") {
			c.Key = append(c.Key, row("key null", "null", "key list", `[1, {"a":null}]`)...)
		}
	}
	return c
}

var values = rapid.SampledFrom([]string{
	"null", "0", "-0", "1.0e400", "12345678901234567890.10", "1E-7", "true", `""`, `"\ud83d\ude00 ü \/"`, `[]`, `{}`, ` [ 1, {"a" : null, "a":2} ]`[1:],
	strings.Repeat("[", 64) + strings.Repeat("]", 64), `"` + strings.Repeat("huge", 1000) + `"`,
})

func drawRow(t *rapid.T, prefix string, least int, values *rapid.Generator[string]) waybill.Row {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"id", `"`, `\`, "ü", "a b", "漢", "\n", "name", "x"}), least, 5, rapid.ID).Draw(t, "names")
	pairs := []string{}
	for _, name := range names {
		pairs = append(pairs, prefix+name, values.Draw(t, "value"))
	}
	return row(pairs...)
}

func drawSchema(t *rapid.T, r waybill.Row) *waybill.Schema {
	s := &waybill.Schema{Entity: texts.Draw(t, "schema"), System: rapid.SampledFrom([]string{"", "postgres", `"`}).Draw(t, "system")}
	for _, col := range r {
		s.Columns = append(s.Columns, waybill.SchemaColumn{Name: col.Name, Type: "text"})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "more columns") {
		s.Columns = append(s.Columns, waybill.SchemaColumn{Name: fmt.Sprintf("\"%d\"", i), Type: `t"<`, Base: rapid.SampledFrom([]string{"", "text"}).Draw(t, "base"), NotNull: true})
	}
	if rapid.Bool().Draw(t, "keys") {
		s.Key, s.Unique = []string{"id"}, [][]string{{"a", "b"}, {}}
		s.Foreign = []waybill.ForeignKey{{Columns: []string{"a"}, Entity: "e", References: []string{"b"}}}
	}
	return s
}
