package event_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// typical is an action whose one change takes about 300 bytes.
func typical(schema *waybill.Schema) event.Event {
	return event.Event{
		Source: "/waybill/crm", ID: actionID, Seq: 42, Name: "customer.created", Time: when, Trace: traceID,
		Changes: waybill.ChangeList{{
			Entity: "customer", Op: waybill.Upsert, Key: row("id", "4711"), Schema: schema,
			Row: row("id", "4711", "city", `"Helsinki"`, "name", `"Maija Meikäläinen"`, "email", `"maija.meikalainen@example.com"`, "phone", `"+358 40 1234567"`,
				"credit", "1250.50", "active", "true", "created", `"2024-05-01T12:34:56.123456Z"`, "comment", "null", "street", `"Aleksanterinkatu 52"`),
		}},
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, ev := range map[string]event.Event{"plain": typical(nil), "schema": typical(customerSchema)} {
		b.Run(name, func(b *testing.B) {
			var enc event.Encoder
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = enc.AppendEvent(dst[:0], &ev)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, ev := range map[string]event.Event{"plain": typical(nil), "schema": typical(customerSchema)} {
		message, err := new(event.Encoder).AppendEvent(nil, &ev)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			dec := event.NewDecoder(knows(customerSchema))
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := dec.Decode(message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The yardstick: the same event by encoding/json, values kept as they stand.
type stdEvent struct {
	SpecVersion     string      `json:"specversion"`
	ID              string      `json:"id"`
	Source          string      `json:"source"`
	Type            string      `json:"type"`
	Time            time.Time   `json:"time"`
	DataContentType string      `json:"datacontenttype"`
	Sequence        string      `json:"sequence"`
	Trace           string      `json:"traceparent"`
	Data            []stdChange `json:"data"`
}

type stdChange struct {
	Entity string                     `json:"entity"`
	Op     string                     `json:"op"`
	Key    map[string]json.RawMessage `json:"key"`
	Row    map[string]json.RawMessage `json:"row"`
}

func BenchmarkStandardLibrary(b *testing.B) {
	ev := typical(nil)
	message, err := new(event.Encoder).AppendEvent(nil, &ev)
	if err != nil {
		b.Fatal(err)
	}
	var std stdEvent
	b.Run("unmarshal", func(b *testing.B) {
		b.SetBytes(int64(len(message)))
		b.ReportAllocs()
		for b.Loop() {
			std = stdEvent{}
			if err := json.Unmarshal(message, &std); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("marshal", func(b *testing.B) {
		b.SetBytes(int64(len(message)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&std); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParts(b *testing.B) {
	head := part(1, true, "after")
	var changes waybill.ChangeList
	for range 20_000 {
		changes = append(changes, typical(nil).Changes...)
	}
	var enc event.Encoder
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := enc.Parts(&head, "before", changes, 1<<20, func(p []byte, _ bool) error { n += len(p); return nil }); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(n))
	}
}

func TestAllocations(t *testing.T) {
	var enc event.Encoder
	dst := make([]byte, 0, 4096)
	for name, ev := range map[string]event.Event{"plain": typical(nil), "schema": typical(customerSchema)} {
		ev.Position = waybill.Position(strings.Repeat("p", 60))
		if n := testing.AllocsPerRun(100, func() { dst, _ = enc.AppendEvent(dst[:0], &ev) }); n > 0 {
			t.Errorf("%s: %v allocations to write", name, n)
		}
		dec := event.NewDecoder(knows(customerSchema))
		// The ID, the trace and the position, and now and then room for changes.
		if n := testing.AllocsPerRun(1000, func() { _, _ = dec.Decode(dst) }); n > 3 {
			t.Errorf("%s: %v allocations to read", name, n)
		}
	}
}
