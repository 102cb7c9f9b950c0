package event_test

import (
	"errors"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// plain is an encoding whose bytes are the JSON, but for what it cannot read.
type plain struct{}

func (plain) String() string { return "plain(1)" }

func (plain) AppendJSON(dst, raw []byte) ([]byte, error) {
	if string(raw) == "broken" {
		return append(dst, "hal"...), errors.New("it is broken")
	}
	return append(dst, raw...), nil
}

func native(name, raw string) waybill.Column {
	return waybill.Column{Name: name, Value: waybill.Value{Form: waybill.Native, Raw: []byte(raw), Encoding: plain{}}}
}

// Values in the source's encoding arrive as JSON, whole and in parts.
func TestNativeTravelsAsJSON(t *testing.T) {
	changes := waybill.ChangeList{
		{Entity: "public.event", Op: waybill.Truncate, Schema: capturedSchema},
		{
			Entity: "public.event", Op: waybill.Update, Key: waybill.Row{native("kind", `"a"`), {Name: "note"}},
			Row: waybill.Row{native("kind", `"b"`), {Name: "note"}}, Before: waybill.Row{native("kind", `"a"`)}, Schema: capturedSchema,
		},
	}
	want := waybill.ChangeList{
		changes[0],
		{
			Entity: "public.event", Op: waybill.Update, Key: row("kind", `"a"`, "note", "null"),
			Row: row("kind", `"b"`, "note", "null"), Before: row("kind", `"a"`), Schema: capturedSchema,
		},
	}
	var enc event.Encoder
	dec := event.NewDecoder(knows(capturedSchema))
	message, err := enc.AppendEvent(nil, &event.Event{Source: "s", ID: "1", Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	got, err := dec.Decode(message)
	if err != nil {
		t.Fatal(err)
	}
	requireChanges(t, got.Changes, want)
	if !strings.Contains(string(message), `"unchanged":["data"]`) || strings.Count(string(message), "unchanged") != 1 {
		t.Errorf("unchanged columns: %s", message)
	}
	var parts waybill.ChangeList
	err = enc.Parts(&event.Event{Source: "s", ID: "1", Attempt: "a"}, "", changes, 1, func(part []byte, _ bool) error {
		ev, err := dec.Decode(append([]byte(nil), part...))
		parts = append(parts, ev.Changes...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	requireChanges(t, parts, want)
}

// What no reader would take is refused before it is sent, naming where it stands and not what it is.
func TestNativeRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"broken":                "it is broken",
		"":                      "its encoding gives no JSON value",
		"null":                  "its encoding gives no JSON value",
		"[1,":                   "JSON ends too early",
		`[1]2`:                  "more than one JSON value",
		"\"\xff\"":              "it is not valid UTF-8",
		`"\ud800"`:              "escape sequence that stands for no character",
		strings.Repeat("[", 99): "a value nests deeper than 64",
	} {
		ev := event.Event{Source: "s", ID: "17", Seq: 3, Attempt: "a", Changes: waybill.ChangeList{
			{Entity: "public.event", Op: waybill.Insert, Key: row("id", "42"), Row: waybill.Row{native("data", raw)}},
		}}
		var enc event.Encoder
		_, whole := enc.AppendEvent([]byte("x"), &ev)
		parts := enc.Parts(&ev, "", ev.Changes, 1, func([]byte, bool) error { return nil })
		for _, err := range []error{whole, parts} {
			r := (*waybill.Refusal)(nil)
			if !errors.As(err, &r) || r.Action != "17" || r.Seq != 3 || r.Entity != "public.event" || r.Key != `{"id":42}` ||
				!strings.HasPrefix(r.Reason, `column "data" (plain(1)) cannot be written as JSON: `) || !strings.Contains(r.Reason, want) {
				t.Errorf("%.20q: %v, want %s", raw, err, want)
			}
		}
		if _, _, err := enc.Sizes(ev.Changes); err == nil {
			t.Errorf("%.20q: Sizes does not refuse", raw)
		}
	}
}

func TestTruncateRefused(t *testing.T) {
	for _, rest := range []string{`,"key":{"id":1}`, `,"row":{"id":1}`, `,"before":{"id":1}`} {
		message := `{"specversion":"1.0","id":"1","source":"s","type":"t","data":[{"entity":"a","op":"truncate"` + rest + `}]}`
		if _, err := event.NewDecoder(nil).Decode([]byte(message)); err == nil || !strings.Contains(err.Error(), "a truncate has neither key, row nor before") {
			t.Errorf("%s: %v", rest, err)
		}
	}
}

// A schema is one and the same, however often it comes and whoever asks for it first.
func TestSchemasHaveOneAddress(t *testing.T) {
	action, err := new(event.Encoder).AppendEvent(nil, &event.Event{Source: "s", ID: "1", Changes: waybill.ChangeList{
		{Entity: "public.event", Op: waybill.Truncate, Schema: capturedSchema},
	}})
	if err != nil {
		t.Fatal(err)
	}
	schema := readGolden(t, "captured-schema.json")
	dec := event.NewDecoder(func(string) (*waybill.Schema, error) {
		found := *capturedSchema // a new one each time
		return &found, nil
	})
	again := dec.Again()
	seen := map[*waybill.Schema]bool{}
	for range 2 {
		list, err := again(action)
		if err != nil {
			t.Fatal(err)
		}
		described, err := dec.Decode(schema)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := dec.Decode(action)
		if err != nil {
			t.Fatal(err)
		}
		seen[list[0].Schema], seen[described.Schema], seen[ev.Changes[0].Schema] = true, true, true
	}
	if len(seen) != 1 {
		t.Errorf("%d schemas, want one", len(seen))
	}
}
