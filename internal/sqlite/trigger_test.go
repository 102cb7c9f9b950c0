package sqlite

import (
	"testing"
)

// TestTrigger goes through what the outbox refuses, and says exactly how.
func TestTrigger(t *testing.T) {
	const ok = `{"entity":"c","op":"upsert","key":{"id":1},"row":{"a":1}}`
	for _, c := range []struct{ changes, want string }{
		{`[]`, ""},
		{`[` + ok + `]`, ""},
		{`[` + ok + `,` + ok + `]`, ""},
		{`[{"entity":"c","op":"delete","key":{"id":1}}]`, ""},
		{`[{"entity":"c","op":"delete","key":{"id":1},"row":null,"before":null}]`, ""},
		{`[{"entity":"c","op":"delete","key":{"id":1},"row":{},"before":{"a":1}}]`, ""},
		{`[{"entity":"c","op":"update","key":{"id":1},"row":{"id":2}}]`, ""},
		{`[{"entity":"c","op":"insert","key":{"id":"1","x":true},"row":{"id":"1"}}]`, ""},
		{`[{"entity":"c","op":"update","key":{"id":1},"row":{}}]`, ""},
		{`[`, "changes is not valid JSON text"},
		{``, "changes is not valid JSON text"},
		{`{}`, "changes is not a JSON array"},
		{`null`, "changes is not a JSON array"},
		{`[1]`, "a change is not a JSON object"},
		{`[null]`, "a change is not a JSON object"},
		{`[` + ok + `,[]]`, "a change is not a JSON object"},
		{`[{"entity":"c","op":"upsert","key":{"id":1},"row":{},"rwo":1}]`, "a change has a field other than entity, op, key, row, before"},
		{`[{"entity":"c","entity":"c","op":"upsert","key":{"id":1},"row":{}}]`, "a field stands in a change twice"},
		{`[{"op":"upsert","key":{"id":1},"row":{}}]`, "entity is not a non-empty string"},
		{`[{"entity":"","op":"upsert","key":{"id":1},"row":{}}]`, "entity is not a non-empty string"},
		{`[{"entity":1,"op":"upsert","key":{"id":1},"row":{}}]`, "entity is not a non-empty string"},
		{`[{"entity":null,"op":"upsert","key":{"id":1},"row":{}}]`, "entity is not a non-empty string"},
		{`[{"entity":"c","op":"upsrt","key":{"id":1},"row":{}}]`, "op is not one of insert, update, upsert, delete"},
		{`[{"entity":"c","op":null,"key":{"id":1},"row":{}}]`, "op is not one of insert, update, upsert, delete"},
		{`[{"entity":"c","key":{"id":1},"row":{}}]`, "op is not one of insert, update, upsert, delete"},
		{`[{"entity":"c","op":"upsert","row":{}}]`, "key is not an object of at least one column"},
		{`[{"entity":"c","op":"upsert","key":{},"row":{}}]`, "key is not an object of at least one column"},
		{`[{"entity":"c","op":"upsert","key":null,"row":{}}]`, "key is not an object of at least one column"},
		{`[{"entity":"c","op":"upsert","key":[1],"row":{}}]`, "key is not an object of at least one column"},
		{`[{"entity":"c","op":"upsert","key":{"id":null},"row":{}}]`, "a column of key is not a string, number or boolean"},
		{`[{"entity":"c","op":"upsert","key":{"id":[1]},"row":{}}]`, "a column of key is not a string, number or boolean"},
		{`[{"entity":"c","op":"upsert","key":{"id":1}}]`, "insert, update and upsert need row, an object"},
		{`[{"entity":"c","op":"insert","key":{"id":1},"row":null}]`, "insert, update and upsert need row, an object"},
		{`[{"entity":"c","op":"update","key":{"id":1},"row":[]}]`, "insert, update and upsert need row, an object"},
		{`[{"entity":"c","op":"delete","key":{"id":1},"row":{"a":1}}]`, "a delete has no row (what was deleted goes into before)"},
		{`[{"entity":"c","op":"delete","key":{"id":1},"row":[]}]`, "a delete has no row (what was deleted goes into before)"},
		{`[{"entity":"c","op":"delete","key":{"id":1},"before":[]}]`, "before is not an object"},
		{`[{"entity":"c","op":"upsert","key":{"id":1,"id":1},"row":{}}]`, "a column stands in key, row or before twice"},
		{`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"a":1,"a":1}}]`, "a column stands in key, row or before twice"},
		{`[{"entity":"c","op":"delete","key":{"id":1},"before":{"a":1,"a":1}}]`, "a column stands in key, row or before twice"},
		{`[{"entity":"c","op":"upsert","key":{"id":1},"row":{"id":2}}]`, "a column has one value in key and another in row (an update changes a key)"},
		{`[{"entity":"c","op":"insert","key":{"id":1},"row":{"id":"1"}}]`, "a column has one value in key and another in row (an update changes a key)"},
	} {
		a := newSource(t, testStream)
		_, err := a.Exec("INSERT INTO waybill_outbox (changes) VALUES (?)", c.changes)
		wantRaise(t, c.changes, err, c.want)
		r := a.opened("", 0)
		if want := 1; c.want == "" && len(r.take(want)) != want {
			t.Errorf("%s is not handed on", c.changes)
		}
		r.close()
		_ = a.Close()
	}
}

func wantRaise(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Errorf("%s: taken, want %q", what, want)
	case err != nil && (want == "" || message(err) != "waybill_outbox: "+want):
		t.Errorf("%s: %q, want %q", what, message(err), want)
	}
}

// TestTriggerCarried: an action that a consumer has acknowledged gets no further rows, whether
// its own are still there or not.
func TestTriggerCarried(t *testing.T) {
	for _, streams := range [][]string{{testStream}, {testStream, "p/slow"}} {
		a := newSource(t, streams...)
		r := a.opened("", 0)
		a.emit("x", 1)
		r.take(1)
		r.ack()
		flushNow(t, r.Outbox)
		_, err := a.Exec("INSERT INTO waybill_outbox (action, changes) VALUES ('x', '[]')")
		wantRaise(t, "a carried action", err, "this action was carried already; every transaction needs action IDs of its own")
		a.emit("y", 1)
		if ids := r.take(1); ids[0] != "y" {
			t.Fatalf("read %v", ids)
		}
	}
}

// TestTriggerRows goes through the rules about rows and their numbers.
func TestTriggerRows(t *testing.T) {
	const gone = "this action exists already and is not the last one; its rows must follow each other in one transaction"
	for _, c := range []struct{ statement, want string }{
		{`INSERT INTO waybill_outbox (action, changes) VALUES ('c', '[]'), ('c', '[]'), ('d', '[]')`, ""},
		{`INSERT INTO waybill_outbox (action, changes) VALUES ('b', '[]')`, ""},
		{`INSERT INTO waybill_outbox (action, changes) VALUES ('a', '[]')`, gone},
		{`INSERT INTO waybill_outbox (action, changes) VALUES ('c', '[]'), ('d', '[]'), ('c', '[]')`, gone},
		{`INSERT INTO waybill_outbox (n, changes) VALUES (4, '[]')`, ""},
		{`INSERT INTO waybill_outbox (n, changes) VALUES (5, '[]')`, "leave out n, it is numbered without holes"},
		{`INSERT INTO waybill_outbox (n, changes) VALUES (0, '[]')`, "leave out n, it is numbered without holes"},
		{`INSERT INTO waybill_outbox (action, changes) VALUES ('', '[]')`, "action is not a non-empty text"},
		{`INSERT INTO waybill_outbox (action, changes) VALUES (x'00', '[]')`, "action is not a non-empty text"},
		{`INSERT INTO waybill_outbox (at, changes) VALUES ('2026-01-31 12:00:00', '[]')`, ""},
		{`INSERT INTO waybill_outbox (at, changes) VALUES ('2026-01-31T12:00:00.123456+02:00', '[]')`, ""},
		{`INSERT INTO waybill_outbox (at, changes) VALUES ('now', '[]')`, "at is not a UTC time such as 2026-01-31T12:00:00.000Z"},
		{`INSERT INTO waybill_outbox (at, changes) VALUES ('2026-13-31T12:00:00Z', '[]')`, "at is not a UTC time such as 2026-01-31T12:00:00.000Z"},
		{`INSERT INTO waybill_outbox (changes) VALUES (x'5b5d')`, "changes is not valid JSON text"},
		{`UPDATE waybill_outbox SET n = 9 WHERE n = 3`, "n and action are never changed"},
		{`UPDATE waybill_outbox SET action = 'x' WHERE n = 3`, "n and action are never changed"},
		{`UPDATE waybill_outbox SET changes = '[1]' WHERE n = 3`, "a change is not a JSON object"},
		{`UPDATE waybill_outbox SET changes = '[]' WHERE n = 3`, ""},
	} {
		a := newSource(t, testStream)
		a.emit("a", 1)
		a.exec("INSERT INTO waybill_outbox (action, changes) VALUES ('b', '[]'), ('b', '[]')")
		_, err := a.Exec(c.statement)
		wantRaise(t, c.statement, err, c.want)
		a.want("SELECT count(*) = max(n) AND max(n) = (SELECT seq FROM sqlite_sequence WHERE name = 'waybill_outbox') FROM waybill_outbox", "1")
		r := a.opened("", 0)
		r.drain() // whatever was taken can be read
		r.close()
		_ = a.Close()
	}
}
