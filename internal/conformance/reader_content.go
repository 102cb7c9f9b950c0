package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

func contentRules() []readerRule {
	return []readerRule{
		{name: "all operations", test: func(t *testing.T, s *Source) {
			before := Change(waybill.Update, "public.customer", `{"id":1}`, `{"name":"b"}`)
			before.Before = Row(`{"name":"a","email":null}`)
			roundTrip(t, s,
				Change(waybill.Insert, "customer", `{"id":1}`, `{"id":1,"name":"a","email":null}`),
				before,
				Change(waybill.Update, "customer", `{"id":1}`, `{"id":2}`),
				Change(waybill.Upsert, "phone", `{"customer":1,"kind":"home"}`, `{"number":"1"}`),
				Change(waybill.Delete, "phone", `{"customer":1,"kind":"home"}`, ""),
				Change(waybill.Update, "customer", `{"id":2}`, `{}`))
		}},
		{name: "awkward values", test: func(t *testing.T, s *Source) {
			roundTrip(t, s, Change(waybill.Upsert, "Übergrößen Tabelle.\"x\"", `{"id":"ключ 🗝","n":1.10}`, `{`+
				`"scale":1.10,"huge":1e400,"tiny":-1.5E-7,"zero":0.00,"long":123456789012345678901234567890,`+
				`"int64":9223372036854775807,"bool":true,"null":null,"empty":"","space":"  a\tb\nc  ",`+
				`"quotes":"'\"\\/ \u0001 $1 ? % {} ;--","unicode":"日本語 \ud83d\ude00 \u00e9","name; drop":false,`+
				`"nested":{"b":[1,2.50,{"c":null}],"a":{}},"list":[],"NULL":"null","number":"007"}`))
		}},
		{name: "large values", test: func(t *testing.T, s *Source) {
			roundTrip(t, s, Change(waybill.Upsert, "customer", `{"id":1}`, fmt.Sprintf(`{"note":%q}`, strings.Repeat("waybill ", 1<<17))))
		}},
		{name: "large action", test: func(t *testing.T, s *Source) {
			changes := make([]waybill.Change, 5000)
			for i := range changes {
				changes[i] = customer(i)
			}
			before := s.Emit(t, customer(1))
			id := s.Emit(t, changes...)
			after := s.Emit(t, customer(2))
			have := s.open(t, "", 0).take(3)
			wantIDs(t, have, 0, before, id, after)
			wantChanges(t, s, have[1], changes...)
		}},
		{name: "many large actions", test: func(t *testing.T, s *Source) {
			var ids []string
			for i := range 12 {
				ids = append(ids, s.Emit(t, Change(waybill.Upsert, "customer", fmt.Sprintf(`{"id":%d}`, i),
					fmt.Sprintf(`{"note":%q}`, strings.Repeat("x", 1<<19)))))
			}
			wantIDs(t, s.open(t, "", 0).drain(), 0, ids...)
		}},
		{name: "malformed row stops there", needs: func(s *Source) bool { return s.Malformed != nil }, test: malformed},
	}
}

func roundTrip(t *testing.T, s *Source, changes ...waybill.Change) {
	t.Helper()
	id := s.Emit(t, changes...)
	have := s.open(t, "", 0).take(1)
	wantIDs(t, have, 0, id)
	wantChanges(t, s, have[0], changes...)
}

func malformed(t *testing.T, s *Source) {
	ids := s.emitN(t, 2)
	s.Malformed(t)
	s.Emit(t, customer(3))
	x := s.open(t, "", 0)
	wantIDs(t, x.take(2), 0, ids...)
	for range 2 {
		wantRefusal(t, x)
	}
	x.ack(x.at)
	s.purge(t)
	for range 2 {
		at := x.at
		x.close()
		x.reopen(at, 2)
		wantRefusal(t, x)
	}
}

// wantRefusal reads on; an empty batch may come before the refusal, an action must not.
func wantRefusal(t *testing.T, x *reading) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		b, err := x.r.Next(ctx)
		if err == nil {
			if have := x.check(b); len(have) > 0 {
				t.Fatalf("handed on %v from beyond the malformed row", idsOf(have))
			}
			continue
		}
		var refusal *waybill.Refusal
		if !errors.As(err, &refusal) || waybill.Transient(err) {
			t.Fatalf("Next at a malformed row: %v, want a *Refusal that is not transient", err)
		}
		if refusal.Action == "" || refusal.Reason == "" {
			t.Fatalf("refusal names no action or gives no reason: %+v", refusal)
		}
		return
	}
}
