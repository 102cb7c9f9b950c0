package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// words is an encoding of a source's own: the text itself.
type words struct{}

func (words) String() string { return "words" }

func (words) AppendJSON(dst, raw []byte) ([]byte, error) {
	if string(raw) == "broken" {
		return dst, errors.New("it is broken")
	}
	quoted, err := json.Marshal(string(raw))
	return append(dst, quoted...), err
}

func captured(op waybill.Op, schema *waybill.Schema, id, text string) waybill.Change {
	word := func(raw string) waybill.Value {
		return waybill.Value{Form: waybill.Native, Raw: []byte(raw), Encoding: words{}}
	}
	c := waybill.Change{Entity: schema.Entity, Op: op, Schema: schema}
	if op != waybill.Truncate {
		c.Key = waybill.Row{{Name: "id", Value: word(id)}}
	}
	if op == waybill.Insert || op == waybill.Update {
		c.Row = waybill.Row{{Name: "id", Value: word(id)}, {Name: "text", Value: word(text)}}
	}
	return c
}

func noteSchema(entity string) *waybill.Schema {
	return &waybill.Schema{
		Entity: entity, System: "postgres", Key: []string{"id"},
		Columns: []waybill.SchemaColumn{{Name: "id", Type: "d", Base: "text", NotNull: true}, {Name: "text", Type: "text"}},
	}
}

// many are changes that do not lie in memory.
type many struct {
	n  int
	at func(i int) waybill.Change
}

func (m many) Len() int { return m.n }

func (m many) All() iter.Seq2[*waybill.Change, error] {
	return func(yield func(*waybill.Change, error) bool) {
		for i := range m.n {
			if c := m.at(i); !yield(&c, nil) {
				return
			}
		}
	}
}

// read reads n actions, with their changes as text, and the schemas by entity.
func read(t *testing.T, r *Reader, n int) (actions []string, schemas map[string]map[*waybill.Schema]bool) {
	t.Helper()
	schemas = map[string]map[*waybill.Schema]bool{}
	for len(actions) < n {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Actions {
			var text strings.Builder
			for c, err := range b.Actions[i].Changes.All() {
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&text, "%s%s%s", c.Op, c.Key, c.Row)
				if schemas[c.Entity] == nil {
					schemas[c.Entity] = map[*waybill.Schema]bool{}
				}
				schemas[c.Entity][c.Schema] = true
			}
			actions = append(actions, text.String())
		}
	}
	return actions, schemas
}

// TestCaptured: what was read from a log comes out of the queue as facts: in JSON, each schema one and
// the same for all its changes, with truncates, and with the actions of which nothing was left.
func TestCaptured(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "crm")
	note, other := noteSchema("public.note"), noteSchema("public.other")
	changed := noteSchema("public.note")
	changed.Columns = append(changed.Columns, waybill.SchemaColumn{Name: "more", Type: "text"})
	one := f.action(1, captured(waybill.Insert, note, "1", "a"), captured(waybill.Insert, other, "1", "b"))
	f.write(f.of(one, f.action(2), f.action(3, captured(waybill.Truncate, note, "", ""))))
	none := f.action(4)
	none.Changes = nil
	f.write(f.of(none, f.action(5, captured(waybill.Update, changed, "1", "c"), captured(waybill.Delete, other, "1", ""))))
	const large = 3 * portionActions
	f.resume()
	spilled := f.action(6)
	spilled.Changes = many{large, func(i int) waybill.Change {
		return captured(waybill.Insert, note, fmt.Sprint(i), strings.Repeat("x", 200))
	}}
	f.write(f.of(spilled))

	r := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/t"})
	defer r.Close()
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	actions, schemas := read(t, r, 6)
	for i, want := range []string{
		`insert{"id":"1"}{"id":"1","text":"a"}insert{"id":"1"}{"id":"1","text":"b"}`, "", "truncate{}{}", "",
		`update{"id":"1"}{"id":"1","text":"c"}delete{"id":"1"}{}`,
	} {
		if actions[i] != want {
			t.Errorf("action %d is %s, want %s", i+1, actions[i], want)
		}
	}
	if n := strings.Count(actions[5], "insert"); n != large {
		t.Errorf("the large action has %d changes, want %d", n, large)
	}
	if len(schemas["public.note"]) != 2 || len(schemas["public.other"]) != 1 {
		t.Errorf("schemas: %v, want two versions of note and one of other", schemas)
	}
	for s := range schemas["public.other"] {
		if s == nil || s.System != "postgres" || s.Columns[0].Base != "text" {
			t.Errorf("the schema is %+v", s)
		}
	}
}

// TestCapturedRefused: a value that cannot be written stops the pipeline, and says which.
func TestCapturedRefused(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "crm")
	note := noteSchema("public.note")
	bad := f.action(1, captured(waybill.Insert, note, "1", "broken"))
	large := bad
	large.Changes = many{2 * portionActions, func(i int) waybill.Change {
		text := strings.Repeat("x", 200)
		if i == portionActions+1 {
			text = "broken"
		}
		return captured(waybill.Insert, note, "1", text)
	}}
	for _, a := range []waybill.Action{bad, large} {
		var r *waybill.Refusal
		if err := f.w.Write(ctx(t), f.of(a)); !errors.As(err, &r) || r.Action != a.ID || r.Seq != 1 || r.Entity != "public.note" ||
			r.Key != `{"id":"1"}` || !strings.Contains(r.Reason, `column "text" (words)`) || r.Remedy == "" {
			t.Errorf("Write: %v", err)
		}
	}
	f.emit() // nothing is left of them
}
