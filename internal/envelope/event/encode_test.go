package event_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// A name that cannot be a CloudEvents type goes beside it.
func TestNameAsType(t *testing.T) {
	for name, as := range map[string]string{
		"":                 `"type":"waybill.action","datacontenttype"`,
		"customer.created": `"type":"customer.created","datacontenttype"`,
		"Kunde \"ü\"":      `"type":"Kunde \"ü\"","datacontenttype"`,
		"waybillx":         `"type":"waybillx","datacontenttype"`,
		" ":                `"waybillname":" "`,
		"x ":               `"waybillname":"x "`,
		"x\ty":             `"waybillname":"x\u0009y"`,
		"x\u0085y":         "\"waybillname\":\"x\u0085y\"",
		"waybill.schema":   `"waybillname":"waybill.schema"`,
	} {
		got, err := new(event.Encoder).AppendEvent(nil, &event.Event{Source: "s", ID: "1", Name: name, Time: when.In(time.FixedZone("", 7200))})
		if err != nil || !strings.Contains(string(got), strings.Replace(as, `","data`, `","time":"2026-03-14T09:26:53.589793Z","data`, 1)) {
			t.Errorf("%q: %s (%v)", name, got, err)
		}
		if strings.Contains(as, "waybillname") && !strings.Contains(string(got), `"type":"waybill.action"`) {
			t.Errorf("%q: %s", name, got)
		}
	}
}

// Parts are as large as the limit allows, and no larger.
func TestPartsFillTheLimit(t *testing.T) {
	head := part(0, false, "after")
	head.Kind, head.Changes = event.Action, nil
	var changes waybill.ChangeList
	for i := range 12 {
		changes = append(changes, waybill.Change{Entity: "e", Op: waybill.Upsert, Key: row("id", "1"), Row: row("x", strings.Repeat("1", 1+i%5))})
	}
	var enc event.Encoder
	for limit := 500; limit < 1300; limit++ {
		var parts []string
		if err := enc.Parts(&head, "before", changes, limit, func(p []byte, _ bool) error { parts = append(parts, string(p)); return nil }); err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			_, data, _ := strings.Cut(p, `"data":[`)
			overhead := len(p) - len(data) + len("]}")
			// Heads differ by the digits of the part number, twice, and what only the last part says.
			if slack := 2*9 + 2; i+1 < len(parts) {
				_, next, _ := strings.Cut(parts[i+1], `"data":[`)
				first, _, _ := strings.Cut(next, `},{`)
				if len(p)+len(first)+slack < limit {
					t.Fatalf("limit %d: part %d has %d bytes, the next change %d", limit, i+1, len(p), len(first))
				}
			}
			if len(p) > limit || overhead > 500 {
				t.Fatalf("limit %d: part %d has %d bytes", limit, i+1, len(p))
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	ok := event.Event{Source: "s", ID: "1"}
	for want, spoil := range map[string]func(*event.Event){
		"the event has no source":                       func(e *event.Event) { e.Source = "" },
		"the action has no ID":                          func(e *event.Event) { e.ID = "" },
		"the event's name is not valid UTF-8":           func(e *event.Event) { e.Name = "\xff" },
		"the event's position is not valid UTF-8":       func(e *event.Event) { e.Position = "\xff" },
		"part 0 of attempt \"t\" is no part":            func(e *event.Event) { e.Kind, e.Attempt = event.Part, "t" },
		"part 1 of attempt \"\" is no part":             func(e *event.Event) { e.Kind, e.Part = event.Part, 1 },
		"the event has no position":                     func(e *event.Event) { e.Kind = event.Position },
		"the event has no schema":                       func(e *event.Event) { e.Kind = event.Schema },
		"the event's kind 9 is unknown":                 func(e *event.Event) { e.Kind = 9 },
		"the event's time is in the year 10000, which ": func(e *event.Event) { e.Time = when.AddDate(10000-2026, 0, 0) },
	} {
		e := ok
		spoil(&e)
		got, err := new(event.Encoder).AppendEvent([]byte("x"), &e)
		if err == nil || !strings.HasPrefix(err.Error(), want) || string(got) != "x" {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	}
	own := errors.New("own")
	enc := event.Encoder{Schemas: func(string, *waybill.Schema) error { return own }}
	ev := golden[2].event
	if _, err := enc.AppendEvent(nil, &ev); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	if err := enc.Parts(&ev, "", ev.Changes, 1, nil); err == nil {
		t.Errorf("parts without attempt were taken")
	}
	ev.Attempt = "t"
	if err := enc.Parts(&ev, "", ev.Changes, 1, nil); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	enc.Schemas = nil
	if err := enc.Parts(&ev, "", ev.Changes, 1, func([]byte, bool) error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
}
