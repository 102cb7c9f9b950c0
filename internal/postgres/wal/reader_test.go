package wal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

// source is a database of the test's own that a reader reads.
type source struct {
	url    string
	tables []string
	slot   string
}

func newSource(t testing.TB, sql string) *source {
	t.Helper()
	return newSourceOn(t, testenv.Versions(t)[0], sql)
}

// newSourceOn is newSource on a server of a major version.
func newSourceOn(t testing.TB, major int, sql string) *source {
	t.Helper()
	db := testenv.PostgresVersion(t, major)
	s := &source{url: db.URL, tables: []string{"public.*"}, slot: "slot_" + db.Name}
	if sql != "" {
		s.exec(t, sql)
	}
	t.Cleanup(func() { // a database cannot be dropped while it has a slot
		testenv.Exec(t, s.url, "select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.new(nil).Drop(ctx, "test/target"); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *source) exec(t testing.TB, sql string) { t.Helper(); testenv.Exec(t, s.url, sql) }

func (s *source) new(change func(*Options)) *Reader {
	opts := Options{URL: s.url, Stream: "test/target", Tables: s.tables, Slot: s.slot}
	if change != nil {
		change(&opts)
	}
	return NewReader(opts)
}

// open opens a reader, which is closed when the test ends.
func (s *source) open(t testing.TB, at waybill.Position) *Reader {
	t.Helper()
	o := s.new(nil)
	t.Cleanup(func() { _ = o.Close() })
	pgtest.Open(t, o, at)
	return o
}

// text is an action's changes for comparison.
func text(t testing.TB, a waybill.Action) string {
	t.Helper()
	var b strings.Builder
	n := 0
	for c, err := range a.Changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		fmt.Fprintf(&b, "%s %s %s %s", c.Op, c.Entity, c.Key, c.Row)
		if c.Before != nil {
			fmt.Fprintf(&b, " before %s", c.Before)
		}
		b.WriteString("\n")
	}
	if n != a.Changes.Len() {
		t.Errorf("%d changes, Len is %d", n, a.Changes.Len())
	}
	return b.String()
}

func wantText(t testing.TB, actions []waybill.Action, want ...string) {
	t.Helper()
	if len(actions) != len(want) {
		for _, a := range actions {
			t.Log(text(t, a))
		}
		t.Fatalf("%d actions, want %d", len(actions), len(want))
	}
	for i := range want {
		if got := strings.TrimSpace(text(t, actions[i])); got != strings.TrimSpace(want[i]) {
			t.Errorf("action %d:\n%s\nwant\n%s", i+1, got, want[i])
		}
	}
}

func TestInsertUpdateDelete(t *testing.T) { testenv.EachVersion(t, testInsertUpdateDelete) }

func testInsertUpdateDelete(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table customer (id int primary key, name text)`)
	o := s.open(t, "")
	s.exec(t, `insert into customer values (1, 'Ann'), (2, null)`)
	s.exec(t, `begin; update customer set name = 'Bob' where id = 1; update customer set id = 3 where id = 2; delete from customer where id = 1; commit`)
	s.exec(t, `truncate customer`)
	actions, at := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.customer {"id":1} {"id":1,"name":"Ann"}
insert public.customer {"id":2} {"id":2,"name":null}`,
		`update public.customer {"id":1} {"id":1,"name":"Bob"}
update public.customer {"id":2} {"id":3,"name":null}
delete public.customer {"id":1} {}`,
		`truncate public.customer {} {}`)
	for i, a := range actions {
		if a.Seq != uint64(i+1) || a.ID == "" || time.Since(a.Time) > time.Minute {
			t.Errorf("action %d: %+v", i, a)
		}
	}
	if err := o.Ack(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `insert into customer values (9, 'Zoe')`)
	pgtest.Open(t, o, at)
	actions, _ = pgtest.Drain(t, o, at)
	wantText(t, actions, `insert public.customer {"id":9} {"id":9,"name":"Zoe"}`)
	if actions[0].Seq != 4 || o.Suppressed() != 0 {
		t.Errorf("seq %d, %d suppressed", actions[0].Seq, o.Suppressed())
	}
}

// wantGap fails unless opening at the position is a gap that says all the words.
func wantGap(t testing.TB, o *Reader, at waybill.Position, words ...string) {
	t.Helper()
	err := o.Open(t.Context(), at)
	if !errors.Is(err, waybill.ErrGap) {
		t.Fatalf("Open: %v, want a gap", err)
	}
	wantWords(t, err.Error(), words...)
}
