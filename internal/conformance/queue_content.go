package conformance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

func queueContentRules() []queueRule {
	return []queueRule{
		{name: "what goes in comes out", test: roundTripQueue},
		{name: "schemas travel along", test: schemasTravel},
		{name: "an event of somebody else", test: foreignEvents},
		{name: "somebody else between numbered events", test: func(t *testing.T, q *Queue) {
			e := q.enter(t, "orders")
			e.emit(2)
			x := q.source("orders", "orders/reader").open(t, "", 0)
			wantIDs(t, x.take(2), 0, e.ids...)
			q.Publish(t, "orders", []byte(fmt.Sprintf(sdkEvent, 1)))
			wantRefusal(t, x)
		}},
		{name: "claims give a reason", test: func(t *testing.T, q *Queue) {
			for _, part := range []any{q.Writer(t, "orders"), q.Reader(t, "orders", "orders/reader")} {
				if c, ok := part.(waybill.Claimant); ok {
					checkClaims(t, c)
				}
			}
		}},
		{name: "a full queue holds back and drops nothing", bytes: 4 << 20, test: fullQueue},
		{name: "what never fits is refused", bytes: 4 << 20, test: neverFits},
	}
}

// awkward are changes that an encoding may spoil.
func awkward() []waybill.Change {
	before := Change(waybill.Update, "public.customer", `{"id":1}`, `{"name":"b"}`)
	before.Before = Row(`{"name":"a","email":null}`)
	return []waybill.Change{
		Change(waybill.Insert, "customer", `{"id":1}`, `{"id":1,"name":"a","email":null}`),
		before,
		Change(waybill.Update, "customer", `{"id":1}`, `{"id":2}`),
		Change(waybill.Update, "customer", `{"id":1}`, `{}`),
		Change(waybill.Delete, "phone", `{"customer":1,"kind":"home"}`, ""),
		Change(waybill.Upsert, "Übergrößen Tabelle.\"x\"", `{"id":"ключ 🗝","n":1.10}`, `{`+
			`"scale":1.10,"huge":1e400,"tiny":-1.5E-7,"zero":0.00,"long":123456789012345678901234567890,`+
			`"bool":true,"null":null,"empty":"","quotes":"'\"\\/ \u0001 $1 %","unicode":"日本語 \ud83d\ude00",`+
			`"nested":{"b":[1,2.50,{"c":null}],"a":{}},"list":[],"NULL":"null"}`),
	}
}

func roundTripQueue(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	b := e.batch(awkward(), nil, one(customer(7)), []waybill.Change{Change(waybill.Upsert, "note", `{"id":1}`,
		fmt.Sprintf(`{"text":%q}`, strings.Repeat("waybill ", 1<<15)))})
	b.Actions[0].Name, b.Actions[1].Name, b.Actions[2].Name = "customer.created", "waybill.action", "  with \"blanks\"\n"
	b.Actions[0].Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	b.Actions[2].Time = time.Date(1999, 12, 31, 23, 59, 59, 123456000, time.UTC)
	e.write(b)
	x := q.source("orders", "orders/reader").open(t, "", 0)
	var have []waybill.Action
	for len(have) < len(b.Actions) {
		have = append(have, x.nextBatch().Actions...)
	}
	for i := range b.Actions {
		sameAction(t, &have[i], &b.Actions[i])
	}
}

// sameAction compares all but the estimate of the size, values byte by byte.
func sameAction(t testing.TB, have, want *waybill.Action) {
	t.Helper()
	if have.ID != want.ID || have.Seq != want.Seq || have.Name != want.Name || have.Trace != want.Trace || !have.Time.Equal(want.Time) {
		t.Errorf("have %s, number %d, name %q, trace %q, time %v; want %s, %d, %q, %q, %v", have.ID, have.Seq, have.Name, have.Trace, have.Time,
			want.ID, want.Seq, want.Name, want.Trace, want.Time)
	}
	if have.Changes.Len() != want.Changes.Len() {
		t.Fatalf("action %s has %d changes, want %d", want.ID, have.Changes.Len(), want.Changes.Len())
	}
	want2, stop := nextOf(want.Changes)
	defer stop()
	for c, err := range have.Changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		if w := want2(); !sameChange(c, w, true) || !reflect.DeepEqual(c.Schema, w.Schema) {
			t.Fatalf("action %s: have %s %s %s %s %s, want %s %s %s %s %s", want.ID, c.Op, c.Entity, c.Key, c.Row, c.Before, w.Op, w.Entity, w.Key, w.Row, w.Before)
		}
	}
}

// nextOf iterates step by step.
func nextOf(changes waybill.Changes) (next func() *waybill.Change, stop func()) {
	list := make([]waybill.Change, 0, changes.Len())
	for c := range changes.All() {
		list = append(list, *c)
	}
	i := -1
	return func() *waybill.Change { i++; return &list[i] }, func() {}
}

func schemasTravel(t *testing.T, q *Queue) {
	schema := func(n int) *waybill.Schema {
		return &waybill.Schema{
			Entity: "customer", Key: []string{"id"}, Unique: [][]string{{"email"}},
			Columns: []waybill.SchemaColumn{{Name: "id", Type: "bigint", NotNull: true}, {Name: "name", Type: fmt.Sprintf("varchar(%d)", n)}, {Name: "email", Type: "text"}},
			Foreign: []waybill.ForeignKey{{Columns: []string{"id"}, Entity: "party", References: []string{"id"}}},
		}
	}
	e := q.enter(t, "orders")
	var all []waybill.Action
	for _, n := range []int{10, 10, 20, 10} {
		first, second := customer(1), customer(2)
		first.Schema = schema(n) // an equal one, not the same
		b := e.batch(one(first), one(second, first))
		e.write(b)
		all = append(all, b.Actions...)
		if n == 20 {
			q.Restart(t)
			e.resume()
		}
	}
	for range 2 {
		x := q.source("orders", "orders/reader").open(t, "", 0)
		var have []waybill.Action
		for len(have) < len(all) {
			have = append(have, x.nextBatch().Actions...)
		}
		for i := range all {
			sameAction(t, &have[i], &all[i])
		}
		x.close()
	}
}

// sdkEvent is an event as a CloudEvents SDK writes it.
const sdkEvent = `{"specversion":"1.0","id":"sdk-%d","source":"https://example.com/shop","type":"com.example.order","subject":"x","time":"2026-03-01T12:00:00Z",` +
	`"datacontenttype":"application/json","partitionkey":"k","data":[{"entity":"customer","op":"upsert","key":{"id":1},"row":{"name":"no 1"}}]}`

func foreignEvents(t *testing.T, q *Queue) {
	var ids []string
	publish := func() {
		n := len(ids) + 1
		q.Publish(t, "shop", []byte(fmt.Sprintf(sdkEvent, n)))
		ids = append(ids, fmt.Sprintf("sdk-%d", n))
	}
	publish()
	publish()
	x := q.source("shop", "shop/reader").open(t, "", 0)
	have := x.take(2)
	wantIDs(t, have, 0, ids...)
	wantChanges(t, x.s, have[0], customer(1))
	x.close()
	publish()
	x.reopen(x.at, 2)
	wantIDs(t, x.take(1), 2, ids[2])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if lag, ok := x.r.(waybill.Backlog); ok {
		publish()
		if n, _, err := lag.Backlog(ctx, x.at); n != 1 || err != nil {
			t.Errorf("backlog %d, %v; want 1", n, err)
		}
	}
	w := q.Writer(t, "shop")
	defer w.Close()
	if _, err := w.Resume(ctx, "shop/queue"); err == nil || waybill.Transient(err) {
		t.Errorf("a pipeline took a subject that somebody else writes to: %v", err)
	}
}

// sized is an action of about so many bytes.
func sized(n int) []waybill.Change {
	return one(Change(waybill.Upsert, "note", `{"id":1}`, fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", n))))
}

func fullQueue(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	x := q.source("orders", "orders/reader").open(t, "", 0)
	var full error
	var b waybill.Batch
	for range 40 { // 10 MiB
		b = e.batch(sized(1<<18), sized(1000))
		if full = e.try(b); full != nil {
			break
		}
		e.wrote(b)
	}
	if !waybill.Transient(full) || !strings.Contains(full.Error(), "full") {
		t.Fatalf("writing more than the queue may hold: %v, want a transient error that says that it is full", full)
	}
	for range 2 {
		if err := e.try(b); !waybill.Transient(err) {
			t.Fatalf("writing again while it is full: %v", err)
		}
	}
	wantIDs(t, x.take(len(e.ids)), 0, e.ids...)
	x.ack(x.at)
	written := len(e.ids)
	for range 20 { // it goes on as consumers do
		e.write(b)
		b = e.batch(sized(1<<18), sized(1000))
		x.again()
		x.ack(x.at)
	}
	if want := e.seq; x.seq != want || written == 0 {
		t.Fatalf("%d actions came out, %d went in", x.seq, want)
	}
}

func neverFits(t *testing.T, q *Queue) {
	e := q.enter(t, "orders")
	e.emit(1)
	x := q.source("orders", "orders/reader").open(t, "", 0)
	for _, b := range []waybill.Batch{
		e.batch(sized(5 << 20)),
		e.batch(one(customer(1)), append(sized(3<<20), sized(3<<20)...)),
	} {
		var refusal *waybill.Refusal
		err := e.try(b)
		if !errors.As(err, &refusal) || waybill.Transient(err) {
			t.Fatalf("an action that is larger than the queue: %v, want a *Refusal", err)
		}
		if refusal.Action != b.Actions[len(b.Actions)-1].ID || refusal.Seq == 0 || refusal.Remedy == "" {
			t.Fatalf("the refusal says too little: %+v", refusal)
		}
		e.resume()
	}
	have := x.drain()
	if n := len(have); n < 1 || n > 2 || e.seq != uint64(n) {
		t.Fatalf("%d actions came out, and the queue stands at %d", n, e.seq)
	}
}
