package event_test

import (
	"encoding/json"
	"strings"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// The CloudEvents SDK reads what we write: attributes and their types as documented.
func TestSDKReads(t *testing.T) {
	for _, g := range golden {
		message := readGolden(t, g.file)
		var ce sdk.Event
		err := json.Unmarshal(message, &ce)
		if g.file == hugeNumber {
			if err == nil {
				t.Error("the SDK has learned to pass over huge numbers; docs/format.md says that it cannot")
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", g.file, err)
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", g.file, err)
		}
		e := g.event
		if ce.SpecVersion() != "1.0" || ce.Source() != e.Source || !ce.Time().Equal(e.Time) || e.ID != "" && !strings.HasPrefix(ce.ID(), e.ID) {
			t.Errorf("%s: got %s", g.file, ce)
		}
		want := map[string]any{}
		if e.Seq > 0 {
			want["sequence"] = "000000000000000000" + string('0'+rune(e.Seq/10)) + string('0'+rune(e.Seq%10))
		}
		if e.Trace != "" {
			want["traceparent"] = e.Trace
		}
		if e.Kind != event.Action {
			want["waybillkind"] = e.Kind.String()
		}
		if e.Position != "" {
			want["waybillposition"] = string(e.Position)
		}
		if e.Kind == event.Part {
			want["waybillaction"], want["waybillattempt"], want["waybillpart"], want["waybilllast"] = e.ID, e.Attempt, int32(e.Part), e.Last
		}
		if g.file == "odd-name.json" {
			want["waybillname"] = e.Name
		}
		got := ce.Extensions()
		for name, value := range want {
			v, err := types.Validate(got[name])
			if err != nil || v != value {
				t.Errorf("%s: %s is %T %v (%v), want %T %v", g.file, name, got[name], got[name], err, value, value)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: extensions %v, want %v", g.file, got, want)
		}
		if e.Kind == event.Position {
			continue
		}
		var data any
		if ce.DataContentType() != "application/json" || ce.DataAs(&data) != nil {
			t.Errorf("%s: data of type %s: %s", g.file, ce.DataContentType(), ce.Data())
		}
		if ce.Type() != "waybill.action" && ce.Type() != e.Name && e.Kind != event.Schema {
			t.Errorf("%s: type %s", g.file, ce.Type())
		}
		// Handed on by the SDK it is still the same event.
		again, err := json.Marshal(ce)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.NewDecoder(knows(customerSchema, capturedSchema)).Decode(again)
		if err != nil {
			t.Fatalf("%s, handed on: %v in %s", g.file, err, again)
		}
		requireEqual(t, back, e)
	}
}

// We read what the CloudEvents SDK writes.
func TestSDKWrites(t *testing.T) {
	type document struct {
		Entity string         `json:"entity"`
		Op     string         `json:"op"`
		Key    map[string]any `json:"key"`
		Row    map[string]any `json:"row,omitempty"`
	}
	docs := []document{
		{Entity: "customer", Op: "upsert", Key: map[string]any{"id": 1}, Row: map[string]any{"name": "<Ann> & ü\u2028"}},
		{Entity: "customer", Op: "delete", Key: map[string]any{"id": "2"}},
	}
	list := waybill.ChangeList{
		{Entity: "customer", Op: waybill.Upsert, Key: row("id", "1"), Row: row("name", `"\u003cAnn\u003e \u0026 ü\u2028"`)},
		{Entity: "customer", Op: waybill.Delete, Key: row("id", `"2"`)},
	}
	raw, err := json.Marshal(docs)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		set  func(*sdk.Event) error
		want waybill.ChangeList
	}{
		"value":       {func(e *sdk.Event) error { return e.SetData(sdk.ApplicationJSON, docs) }, list},
		"bytes":       {func(e *sdk.Event) error { return e.SetData(sdk.ApplicationJSON, raw) }, list},
		"one change":  {func(e *sdk.Event) error { return e.SetData(sdk.ApplicationJSON, docs[0]) }, list[:1]},
		"raw message": {func(e *sdk.Event) error { return e.SetData(sdk.ApplicationJSON, json.RawMessage(raw)) }, list},
		"base64": {func(e *sdk.Event) error {
			err := e.SetData("application/json; charset=utf-8", raw)
			e.DataBase64 = true
			return err
		}, list},
	} {
		ce := sdk.New()
		ce.SetID("shop-1")
		ce.SetSource("https://shop.example/orders")
		ce.SetType("customer.changed")
		ce.SetSubject("customer/1")
		ce.SetTime(when)
		ce.SetDataSchema("https://shop.example/schema")
		ce.SetExtension("sequence", "00042")
		ce.SetExtension("traceparent", traceID)
		ce.SetExtension("partitionkey", "x")
		ce.SetExtension("priority", 7)
		if err := tc.set(&ce); err != nil {
			t.Fatal(err)
		}
		message, err := json.Marshal(ce)
		if err != nil {
			t.Fatal(err)
		}
		if name == "base64" && !strings.Contains(string(message), `"data_base64"`) {
			t.Fatalf("no data_base64 in %s", message)
		}
		got, err := event.NewDecoder(nil).Decode(message)
		if err != nil {
			t.Fatalf("%s: %v in %s", name, err, message)
		}
		requireEqual(t, got, event.Event{
			Source: "https://shop.example/orders", ID: "shop-1", Seq: 42, Name: "customer.changed", Time: when, Trace: traceID, Changes: tc.want,
		})
	}
}
