package demo

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fill makes a queue with these events, as any NATS client would, beside one of another pipeline.
func fill(t *testing.T, events ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := serveQueue(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.WaitForShutdown()
	defer s.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{queueStream + "_consumers", queueStream} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range [][2]string{{queueStream + ".other", "not one of ours"}, {queueStream + "." + pipeline + ".schema.0", "{}"}} {
		if _, err := js.Publish(t.Context(), m[0], []byte(m[1])); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range events {
		if _, err := js.Publish(t.Context(), queueStream+"."+pipeline, []byte(e)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// event is what the queue holds of an action.
func event(action int64) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"x%d","source":"/waybill/customers","type":"customer.saved","data":[
{"entity":"journal","op":"upsert","key":{"action":%[1]d},"row":{}},{"entity":"phone","op":"delete","key":{"id":7}}]}`, action)
}

// TestJudgeQueue reads a queue that runs empty, and others that do not.
func TestJudgeQueue(t *testing.T) {
	p := newPair(t, 20)
	var newest int64
	if err := open(t, p.master).QueryRowContext(t.Context(), "select max(action) from journal").Scan(&newest); err != nil {
		t.Fatal(err)
	}
	behind := p.copyOf(t)
	db := open(t, behind.crm)
	runSQL(t, db, "delete from receipt where action > ?", newest-2)

	position := `{"specversion":"1.0","id":"p","source":"/waybill/customers","type":"waybill.position","waybillkind":"position"}`
	for _, tc := range []struct {
		name           string
		events         []string
		crm, warehouse string
		want           Left
	}{
		{"empty but for the last action", []string{event(newest)}, p.crm, p.crm, Left{Messages: 1, Actions: 1, Newest: true}},
		{"what comes after the last action is a position", []string{event(newest), position}, p.crm, p.crm, Left{Messages: 2, Actions: 1, Newest: true}},
		{"a target lacks two", []string{event(newest - 2), event(newest - 1), event(newest)}, p.crm, behind.crm, Left{Messages: 3, Actions: 3, LackedByWarehouse: 2, Newest: true}},
		{"the last action did not enter", []string{event(newest - 1)}, behind.crm, p.crm, Left{Messages: 1, Actions: 1, LackedByCRM: 1}},
		{"one that was rolled back", []string{event(newest), event(newest + 1)}, p.crm, p.crm, Left{Messages: 2, Actions: 2, LackedByCRM: 1, LackedByWarehouse: 1, Foreign: 1}},
		{"nothing ever entered", nil, p.crm, p.crm, Left{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := JudgeQueue(t.Context(), fill(t, tc.events...), p.master, tc.crm, tc.warehouse)
			if err != nil || got != tc.want {
				t.Errorf("judged %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
	if _, err := JudgeQueue(t.Context(), fill(t, `{"data":[]}`), p.master, p.crm, p.crm); err == nil {
		t.Error("an event without an action passed")
	}
	if _, err := JudgeQueue(t.Context(), t.TempDir(), p.master, p.crm, p.crm); err == nil {
		t.Error("a directory without a queue passed")
	}
}
