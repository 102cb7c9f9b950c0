package wal

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/postgres/pgvalue"
	"github.com/waybill-data/waybill/internal/testenv"
)

// TestForeignMatter: messages are no changes of tables; what another system replicated here is.
func TestForeignMatter(t *testing.T) { testenv.EachVersion(t, testForeignMatter) }

func testForeignMatter(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `select pg_logical_emit_message(true, 'waybill', '[{"entity":"x","op":"delete","key":{"id":1}}]')`)
	s.exec(t, `select pg_logical_emit_message(false, 'waybill', 'not in a transaction')`)
	s.exec(t, `begin; select pg_logical_emit_message(true, 'waybill', 'beside'); insert into c values (1); commit`)
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_create('%s')`, s.slot))
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_session_setup('%s'); insert into c values (2)`, s.slot))
	s.exec(t, fmt.Sprintf(`select pg_replication_origin_drop('%s')`, s.slot))
	s.exec(t, `begin; insert into c values (3); savepoint a; insert into c values (4); rollback to a; insert into c values (5); commit`)
	s.exec(t, `begin; insert into c values (6); rollback`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.c {"id":1} {"id":1}`, `insert public.c {"id":2} {"id":2}`, `insert public.c {"id":3} {"id":3}
insert public.c {"id":5} {"id":5}`)
}

func TestTruncate(t *testing.T) { testenv.EachVersion(t, testTruncate) }

func testTruncate(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table parent (id int primary key); create table child (id int primary key, p int references parent);
create table part (id int primary key) partition by range (id); create table part_1 partition of part for values from (0) to (10);
create table part_2 partition of part for values from (10) to (20)`)
	o := s.open(t, "")
	s.exec(t, `insert into parent values (1); insert into child values (1, 1); insert into part values (1), (11)`)
	s.exec(t, `truncate parent cascade`)
	s.exec(t, `begin; truncate child, parent restart identity; insert into parent values (2); commit`)
	s.exec(t, `truncate part`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions[1:], "truncate public.parent {} {}\ntruncate public.child {} {}",
		"truncate public.child {} {}\ntruncate public.parent {} {}\ninsert public.parent {\"id\":2} {\"id\":2}", "truncate public.part {} {}")
}

// TestGenerated: stored columns come where the server publishes them.
func TestGenerated(t *testing.T) { testenv.EachVersion(t, testGenerated) }

func testGenerated(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table g (id int primary key, twice int generated always as (id * 2) stored, v text)`)
	o := s.open(t, "")
	s.exec(t, `insert into g values (1, default, 'a')`)
	s.exec(t, `update g set id = 2`)
	actions, _ := pgtest.Drain(t, o, "")
	if major >= 18 {
		wantText(t, actions, `insert public.g {"id":1} {"id":1,"twice":2,"v":"a"}`, `update public.g {"id":1} {"id":2,"twice":4,"v":"a"}`)
	} else {
		wantText(t, actions, `insert public.g {"id":1} {"id":1,"v":"a"}`, `update public.g {"id":1} {"id":2,"v":"a"}`)
	}
	for c := range actions[0].Changes.All() {
		if got := len(c.Schema.Columns); got != len(c.Row) {
			t.Errorf("the schema has %d columns, the row %d", got, len(c.Row))
		}
	}
}

// TestPartialIdentity: the partitions, which did not get the partitioned table's replica identity
// full, log keys alone. What is not known of an old row is not null.
func TestPartialIdentity(t *testing.T) {
	s := newSource(t, `create table part (id int primary key, v text) partition by range (id);
create table part_1 partition of part for values from (0) to (10); create table part_2 partition of part for values from (10) to (20);
alter table part replica identity full; alter table part_2 replica identity full`)
	o := s.new(func(opts *Options) { opts.Whole = []string{"public.part"} })
	t.Cleanup(func() { _ = o.Close() })
	text, _ := findings(t, o)
	wantWords(t, text, `table public.part_1 has not replica identity full`, `ALTER TABLE "public"."part_1" REPLICA IDENTITY FULL;`)
	pgtest.Open(t, o, "")
	s.exec(t, `insert into part values (1, 'a'), (11, 'a')`)
	s.exec(t, `begin; update part set id = id + 1; delete from part; commit`)
	actions, at := pgtest.Drain(t, o, "") // the system tables are read when the log is
	wantText(t, actions[1:], `update public.part {"id":1} {"id":2,"v":"a"}
update public.part {"id":11} {"id":12,"v":"a"}
delete public.part {"id":2} {}
delete public.part {"id":12} {}`)
	s.exec(t, `alter table part_1 replica identity full; alter table part replica identity default; alter table part replica identity full`)
	s.exec(t, `insert into part values (1, 'a'); delete from part`)
	actions, _ = pgtest.Drain(t, o, at)
	wantText(t, actions, `insert public.part {"id":1} {"id":1,"v":"a"}
delete public.part {"id":1} {} before {"id":1,"v":"a"}`)
	if text, _ = findings(t, o); strings.Contains(text, "has not replica identity full") {
		t.Error(text)
	}
}

// TestTextInMidStream: a table comes whose values can only be read as text, while all are read in
// the binary format. The log is read anew from the position, and nothing is lost or comes twice.
func TestTextInMidStream(t *testing.T) { testenv.EachVersion(t, testTextInMidStream) }

func testTextInMidStream(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key, at timestamptz)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1, '2024-05-06 07:08:09+00')`)
	first, at := pgtest.Drain(t, o, "")
	wantEncoding(t, first, true)
	s.exec(t, `set search_path = public; create type odd;
create function odd_in(cstring) returns odd as 'textin' language internal immutable strict;
create function odd_out(odd) returns cstring as 'textout' language internal immutable strict;
create type odd (input = odd_in, output = odd_out, like = text);
create table e (id int primary key, v odd, w odd[])`)
	if err := o.side.do(t.Context(), func(c *sideConn) error { return o.upkeep(t.Context(), c) }); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `insert into c values (2, null)`)
	s.exec(t, `insert into e values (1, 'strange', '{a,NULL}')`)
	s.exec(t, `insert into c values (3, '2024-05-06 07:08:09+00')`)
	var actions []waybill.Action
	head, err := o.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	anew := 0
	for !o.Reached(at, head) {
		b, err := o.Next(t.Context())
		if waybill.Transient(err) {
			anew++
			pgtest.Open(t, o, at)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		actions, at = append(actions, b.Actions...), b.Upto
	}
	if anew != 1 {
		t.Errorf("opened anew %d times, want once", anew)
	}
	wantText(t, actions, `insert public.c {"id":2} {"id":2,"at":null}`, `insert public.e {"id":1} {"id":1,"v":"strange","w":["a",null]}`,
		`insert public.c {"id":3} {"id":3,"at":"2024-05-06T07:08:09.000000Z"}`)
	wantEncoding(t, actions[1:], false)
	for c := range actions[1].Changes.All() {
		if col := c.Schema.Columns; col[1].Type != "odd" || col[1].Base != "text" || col[2].Base != "text[]" {
			t.Errorf("%+v", col)
		}
	}
}

// wantEncoding fails unless all values that are not null came in the format.
func wantEncoding(t testing.TB, actions []waybill.Action, binary bool) {
	t.Helper()
	for _, a := range actions {
		for c := range a.Changes.All() {
			for _, col := range c.Row {
				if e, ok := col.Value.Encoding.(*pgvalue.Encoding); ok && e.Binary != binary {
					t.Errorf("%s.%s: binary is not %v", c.Entity, col.Name, binary)
				}
			}
		}
	}
}
