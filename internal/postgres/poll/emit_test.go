package poll

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/postgres/server"
	"github.com/waybill-data/waybill/internal/testenv"
)

// nested is a value that nests n deep.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestEmitRefuses(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	for _, c := range []struct{ changes, want string }{
		{`null`, "changes are a JSON null, not an array of changes"},
		{`{"entity":"a","op":"delete","key":{"id":1}}`, "changes are a JSON object, not an array of changes"},
		{`[1]`, "change 1: it is not a JSON object"},
		{`[{"entity":"a","op":"delete","key":{"id":1}}, null]`, "change 2: it is not a JSON object"},
		{`[{"entity":"a","op":"delete","key":{"id":1},"rows":{}}]`, `change 1: field "rows" is none of entity, op, key, row, before`},
		{`[{"op":"delete","key":{"id":1}}]`, "change 1: field entity is missing"},
		{`[{"entity":"","op":"delete","key":{"id":1}}]`, "change 1: entity is not a string, or empty"},
		{`[{"entity":1,"op":"delete","key":{"id":1}}]`, "change 1: entity is not a string, or empty"},
		{`[{"entity":null,"op":"delete","key":{"id":1}}]`, "change 1: entity is not a string, or empty"},
		{`[{"entity":"a","key":{"id":1}}]`, "change 1: field op is missing"},
		{`[{"entity":"a","op":"upsrt","key":{"id":1},"row":{}}]`, `change 1 (a): op "upsrt" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":null,"key":{"id":1},"row":{}}]`, `change 1 (a): op "" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":"UPSERT","key":{"id":1},"row":{}}]`, `change 1 (a): op "UPSERT" is not one of insert, update, upsert, delete`},
		{`[{"entity":"a","op":"upsert","row":{}}]`, "change 1 (a): key is not a JSON object with at least one column"},
		{`[{"entity":"a","op":"upsert","key":{},"row":{}}]`, "change 1 (a): key is not a JSON object with at least one column"},
		{`[{"entity":"a","op":"upsert","key":[1],"row":{}}]`, "change 1 (a): key is not a JSON object with at least one column"},
		{`[{"entity":"a","op":"upsert","key":null,"row":{}}]`, "change 1 (a): key is not a JSON object with at least one column"},
		{`[{"entity":"a","op":"upsert","key":{"id":null},"row":{}}]`, `change 1 (a): key column "id" is null, not a string, number or boolean`},
		{`[{"entity":"a","op":"upsert","key":{"id":{}},"row":{}}]`, `change 1 (a): key column "id" is object, not a string, number or boolean`},
		{`[{"entity":"a","op":"upsert","key":{"id":[]},"row":{}}]`, `change 1 (a): key column "id" is array, not a string, number or boolean`},
		{`[{"entity":"a","op":"upsert","key":{"id":1}}]`, "change 1 (a): row is not a JSON object, upsert needs it"},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":null}]`, "change 1 (a): row is not a JSON object, insert needs it"},
		{`[{"entity":"a","op":"update","key":{"id":1},"row":[]}]`, "change 1 (a): row is not a JSON object, update needs it"},
		{`[{"entity":"a","op":"delete","key":{"id":1},"row":{"x":1}}]`, "change 1 (a): a delete has no row (what was deleted goes into before)"},
		{`[{"entity":"a","op":"delete","key":{"id":1},"row":[]}]`, "change 1 (a): a delete has no row (what was deleted goes into before)"},
		{`[{"entity":"a","op":"delete","key":{"id":1},"before":[]}]`, "change 1 (a): before is neither a JSON object nor null"},
		{`[{"entity":"a","op":"delete","key":{"":1}}]`, "change 1 (a): a column has an empty name"},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"":1}}]`, "change 1 (a): a column has an empty name"},
		{`[{"entity":"a","op":"delete","key":{"id":1},"before":{"":1}}]`, "change 1 (a): a column has an empty name"},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"id":2}}]`, `change 1 (a): column "id" has one value in key and another in row, which upsert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":null}}]`, `change 1 (a): column "id" has one value in key and another in row, which insert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":1.0}}]`, `change 1 (a): column "id" has one value in key and another in row, which insert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":"1"}}]`, `change 1 (a): column "id" has one value in key and another in row, which insert does not allow (an update changes a key)`},
		{`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":` + nested(65) + `}}]`, "the value of a column nests more than 64 deep"},
	} {
		_, err := x.conn.Exec(t.Context(), `select waybill.emit('x', $1)`, c.changes)
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Message != "waybill.emit: "+c.want || pe.Code != "22023" {
			t.Errorf("%s\n gave %v\n want waybill.emit: %s", c.changes, err, c.want)
		}
	}
	var pe *pgconn.PgError
	if _, err := x.conn.Exec(t.Context(), `select waybill.emit('x', null)`); !errors.As(err, &pe) || pe.Message != "waybill.emit: changes are null" {
		t.Errorf("null gave %v", err)
	}
	if _, err := x.conn.Exec(t.Context(), `begin read only; select waybill.emit('x', '[]')`); server.Code(err) != "25006" {
		t.Errorf("in a read-only transaction: %v", err)
	}
	x.exec(`rollback`)
	if n := query[int](t, s, `select count(*) from waybill.outbox`); n != 0 {
		t.Errorf("%d rows of what was refused", n)
	}
}

func TestEmitAccepts(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	for _, changes := range []string{
		`[]`,
		`[{"entity":"a","op":"delete","key":{"id":1}}]`,
		`[{"entity":"a","op":"delete","key":{"id":1},"row":null,"before":null}]`,
		`[{"entity":"a","op":"delete","key":{"id":1},"row":{},"before":{"id":1,"x":null}}]`,
		`[{"entity":"a","op":"insert","key":{"id":1},"row":{"id":1,"x":{"y":[null]}}}]`,
		`[{"entity":"a","op":"insert","key":{"id":1},"row":{}}]`,
		`[{"entity":"a","op":"update","key":{"id":1},"row":{"id":2}}]`,
		`[{"entity":"a.b","op":"upsert","key":{"id":"x","n":true,"m":1.50},"row":{"m":1.50}}]`,
		`[{"entity":"a","op":"upsert","key":{"id":1},"row":{"x":` + nested(64) + `}}]`,
	} {
		if _, err := x.conn.Exec(t.Context(), `select waybill.emit('x', $1)`, changes); err != nil {
			t.Errorf("%s: %v", changes, err)
		}
		if fault := query[*string](t, s, `select waybill.outbox_fault($1)`, changes); fault != nil {
			t.Errorf("%s: outbox_fault says %s", changes, *fault)
		}
	}
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	if have, _ := pgtest.Drain(t, o, ""); len(have) != 9 {
		t.Errorf("%d of 9 actions were handed on", len(have))
	}
}

// mangle draws JSON that resembles a list of changes.
func mangle(t *rapid.T) string {
	scalar := rapid.SampledFrom([]string{`1`, `1.0`, `"1"`, `"x"`, `true`, `null`, `""`, `{}`, `[]`, `{"a":1}`, `"upsert"`})
	column := rapid.SampledFrom([]string{"id", "x", ""})
	object := rapid.Custom(func(t *rapid.T) string {
		var parts []string
		seen := map[string]bool{}
		for range rapid.IntRange(0, 2).Draw(t, "columns") {
			name := column.Draw(t, "column")
			if name == "" && rapid.IntRange(0, 3).Draw(t, "nameless") > 0 || seen[name] {
				continue
			}
			seen[name] = true
			parts = append(parts, `"`+name+`":`+scalar.Draw(t, "value"))
		}
		return "{" + strings.Join(parts, ",") + "}"
	})
	either := func(good *rapid.Generator[string]) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
				return scalar.Draw(t, "other")
			}
			return good.Draw(t, "good")
		})
	}
	fields := map[string]*rapid.Generator[string]{
		"entity": rapid.SampledFrom([]string{`"customer"`, `"a.b"`}),
		"op":     rapid.SampledFrom([]string{`"insert"`, `"update"`, `"upsert"`, `"delete"`}),
		"key":    rapid.SampledFrom([]string{`{"id":1}`, `{"id":"1","x":true}`, `{"id":1.0}`}),
		"row":    object, "before": object,
		"other": scalar,
	}
	chance := map[string]int{"entity": 19, "op": 19, "key": 19, "row": 14, "before": 6, "other": 1}
	var changes []string
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		var parts []string
		for _, name := range []string{"entity", "op", "key", "row", "before", "other"} {
			if rapid.IntRange(0, 19).Draw(t, "has "+name) < chance[name] {
				parts = append(parts, `"`+name+`":`+either(fields[name]).Draw(t, name))
			}
		}
		changes = append(changes, "{"+strings.Join(parts, ",")+"}")
	}
	return "[" + strings.Join(changes, ",") + "]"
}

// What emit lets in can be read, and what it refuses is wrong: emit's two tests and the
// reader's decoder agree.
func TestEmitAgreesWithReader(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	good := 0
	rapid.Check(t, func(rt *rapid.T) {
		changes := mangle(rt)
		var text string
		if err := x.conn.QueryRow(t.Context(), `select $1::jsonb::text`, changes).Scan(&text); err != nil {
			rt.Fatal(err)
		}
		_, decoded := envelope.DecodeChanges([]byte(text))
		_, emitted := x.conn.Exec(t.Context(), `select waybill.emit('x', $1)`, changes)
		if (decoded == nil) != (emitted == nil) {
			rt.Fatalf("%s\nemit: %v\ndecoder: %v", changes, emitted, decoded)
		}
		var pe *pgconn.PgError
		if errors.As(emitted, &pe) && strings.Contains(pe.Message, "the changes are malformed") {
			rt.Fatalf("%s\nwas refused without a reason", changes)
		}
		if emitted == nil {
			good++
		}
	})
	if good == 0 {
		t.Fatal("nothing was accepted: the test shows nothing")
	}
}

// Transactions of SERIALIZABLE that share nothing but the outbox do not fail because of it.
func TestEmitSerializable(t *testing.T) {
	s := newSource(t)
	first := s.session(t)
	first.emit(0, 0)
	first.exec(`vacuum analyze`) // a table that is known to be tiny tempts to read all of it
	const workers, each = 4, 40
	var work sync.WaitGroup
	start := make(chan struct{})
	for w := range workers {
		x := s.session(t)
		work.Go(func() {
			<-start
			for i := range each {
				_, err := x.conn.Exec(t.Context(), `begin isolation level serializable; select waybill.emit('x', '`+upsert(w, i)+
					`'); select pg_sleep(0.002); select waybill.emit('x', '`+upsert(w, i)+`'); commit`)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	close(start)
	work.Wait()
}

// A setting that pretends that the transaction emitted before does not hide its action.
func TestEmitForgedMark(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	var want []string
	for _, mark := range []string{
		`' 0 (0,1)'`, `' 1 (0,1)'`, `' 0 (9999,9)'`, `' 7 (0,1)'`, `' 0'`, `' 0 ' || gen_random_uuid()`, `''`,
	} {
		x.exec(`begin`)
		x.exec(`select set_config('waybill.action', pg_current_xact_id()::text || ` + mark + `, true), set_config('waybill.drawn', '0', true)`)
		_, err := x.conn.Exec(t.Context(), `select waybill.emit('x', '[]')`)
		if err != nil { // refused is fine, lost is not
			x.exec(`rollback`)
			continue
		}
		id := x.emit(1, 1)
		if again := x.emit(2, 2); again != id {
			t.Errorf("%s: one transaction is actions %s and %s", mark, id, again)
		}
		x.exec(`commit`)
		want = append(want, id)
	}
	if len(want) < 4 {
		t.Fatalf("only %d were taken", len(want))
	}
	have, _ := pgtest.Drain(t, o, "")
	wantActions(t, have, want...)
}

// One transaction with very many calls takes time in proportion.
func TestEmitManyCalls(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	run := func(n string) time.Duration {
		began := time.Now()
		testenv.Exec(t, s.url, `select count(waybill.emit('x', '`+upsert(1, 1)+`')) from generate_series(1, `+n+`)`)
		return time.Since(began)
	}
	few, many := run("1000"), run("20000")
	t.Logf("1,000 calls: %v, 20,000 calls: %v", few, many)
	if many > 200*few {
		t.Fatalf("1,000 calls took %v, 20,000 calls %v", few, many)
	}
	have, _ := pgtest.Drain(t, o, "")
	if len(have) != 2 || have[0].Changes.Len() != 1000 || have[1].Changes.Len() != 20_000 {
		t.Fatalf("%d actions", len(have))
	}
}

// Numbers keep their lexeme as far as jsonb does.
func TestEmitKeepsNumbers(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	row := `{"a":1.10,"b":12345678901234567890123456789.000000001,"c":-0.0}`
	x.exec(`select waybill.emit('x', $1)`, `[{"entity":"n","op":"upsert","key":{"id":1},"row":`+row+`}]`)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	have, _ := pgtest.Drain(t, o, "")
	for c := range have[0].Changes.All() {
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(row), &want); err != nil {
			t.Fatal(err)
		}
		for name, raw := range want {
			got, _ := c.Row.Get(name)
			if got.String() != strings.Replace(string(raw), "-0.0", "0.0", 1) {
				t.Errorf("%s: %s, want %s", name, got, raw)
			}
		}
	}
}
