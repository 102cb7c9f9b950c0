package wal

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

func TestReplicaIdentities(t *testing.T) { testenv.EachVersion(t, testReplicaIdentities) }

func testReplicaIdentities(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table d (id int primary key, v text);
create table f (id int primary key, v text); alter table f replica identity full;
create table nokey (a int, b text); alter table nokey replica identity full;
create table i (id int primary key, code text not null, v text); create unique index i_code on i (code); alter table i replica identity using index i_code;
create table n (id int primary key, v text); alter table n replica identity nothing`)
	s.tables = append(s.tables, "public.n")
	o := s.open(t, "")
	s.exec(t, `begin; insert into d values (1, 'a'); insert into f values (1, 'a'); insert into nokey values (1, 'a'), (2, null);
insert into i values (1, 'x', 'a'); insert into n values (1, 'a');
update d set v = 'b'; update f set v = 'b'; update nokey set b = 'b' where a = 1; update i set v = 'b'; update i set code = 'y';
delete from d; delete from f; delete from nokey; delete from i; commit`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.d {"id":1} {"id":1,"v":"a"}
insert public.f {"id":1} {"id":1,"v":"a"}
insert public.nokey {"a":1,"b":"a"} {"a":1,"b":"a"}
insert public.nokey {"a":2} {"a":2,"b":null}
insert public.i {"code":"x"} {"id":1,"code":"x","v":"a"}
insert public.n {"id":1} {"id":1,"v":"a"}
update public.d {"id":1} {"id":1,"v":"b"}
update public.f {"id":1} {"id":1,"v":"b"} before {"id":1,"v":"a"}
update public.nokey {"a":1,"b":"a"} {"a":1,"b":"b"} before {"a":1,"b":"a"}
update public.i {"code":"x"} {"id":1,"code":"x","v":"b"}
update public.i {"code":"x"} {"id":1,"code":"y","v":"b"}
delete public.d {"id":1} {}
delete public.f {"id":1} {} before {"id":1,"v":"b"}
delete public.nokey {"a":2} {} before {"a":2,"b":null}
delete public.nokey {"a":1,"b":"b"} {} before {"a":1,"b":"b"}
delete public.i {"code":"y"} {}`)
}

// TestUnchangedToast: a value that an update does not touch, and that the log does not repeat, is
// absent; it is never null.
func TestUnchangedToast(t *testing.T) { testenv.EachVersion(t, testUnchangedToast) }

func testUnchangedToast(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table doc (id int primary key, body text, n int); alter table doc alter body set storage external`)
	o := s.open(t, "")
	s.exec(t, `insert into doc values (1, repeat('x', 10000), 1); update doc set n = 2`)
	actions, _ := pgtest.Drain(t, o, "")
	last := text(t, actions[len(actions)-1])
	if !strings.Contains(last, `update public.doc {"id":1} {"id":1,"n":2}`) {
		t.Errorf("%.300s", last)
	}
}

func TestPartitions(t *testing.T) { testenv.EachVersion(t, testPartitions) }

func testPartitions(t *testing.T, major int) {
	for _, root := range []bool{true, false} {
		s := newSourceOn(t, major, `create table part (id int, at int, primary key (id, at)) partition by range (at);
create table part_1 partition of part for values from (0) to (10); create table part_2 partition of part for values from (10) to (20)`)
		if !root {
			s.exec(t, fmt.Sprintf("create publication %s for table part", s.slot))
		}
		o := s.open(t, "")
		s.exec(t, `insert into part values (1, 1), (2, 11)`)
		s.exec(t, `update part set at = 12 where id = 1`)
		actions, _ := pgtest.Drain(t, o, "")
		if root {
			wantText(t, actions, `insert public.part {"id":1,"at":1} {"id":1,"at":1}
insert public.part {"id":2,"at":11} {"id":2,"at":11}`, `delete public.part {"id":1,"at":1} {}
insert public.part {"id":1,"at":12} {"id":1,"at":12}`)
		} else {
			wantText(t, actions, `insert public.part_1 {"id":1,"at":1} {"id":1,"at":1}
insert public.part_2 {"id":2,"at":11} {"id":2,"at":11}`, `delete public.part_1 {"id":1,"at":1} {}
insert public.part_2 {"id":1,"at":12} {"id":1,"at":12}`)
		}
	}
}

func TestTableAltered(t *testing.T) { testenv.EachVersion(t, testTableAltered) }

func testTableAltered(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key, a text)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1, 'a')`)
	s.exec(t, `alter table c add b int`)
	s.exec(t, `insert into c values (2, 'a', 7)`)
	s.exec(t, `alter table c drop a`)
	s.exec(t, `insert into c values (3, 8)`)
	actions, at := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.c {"id":1} {"id":1,"a":"a"}`, `insert public.c {"id":2} {"id":2,"a":"a","b":7}`, `insert public.c {"id":3} {"id":3,"b":8}`)
	s.exec(t, `alter table c rename b to bb`)
	s.exec(t, `insert into c values (4, 9)`)
	_, at, err := pgtest.Read(t, o, at)
	if err == nil || waybill.Transient(err) || !strings.Contains(err.Error(), "column b went and column bb came") {
		t.Fatalf("column renamed: %v", err)
	}
	pgtest.Open(t, o, at) // the operator has done the same at the target
	actions, at = pgtest.Drain(t, o, at)
	wantText(t, actions, `insert public.c {"id":4} {"id":4,"bb":9}`)
	s.exec(t, `alter table c rename to cc`)
	s.exec(t, `insert into cc values (5, 9)`)
	if _, _, err = pgtest.Read(t, o, at); err == nil || !strings.Contains(err.Error(), "public.c was renamed to public.cc") {
		t.Fatalf("table renamed: %v", err)
	}
}

func TestSchema(t *testing.T) { testenv.EachVersion(t, testSchema) }

func testSchema(t *testing.T, major int) {
	s := newSourceOn(t, major, `create type mood as enum ('ok'); create domain price as numeric(10,2);
create table parent (a int, b int, primary key (a, b));
create table child (id bigint primary key, p price, m mood[], a int, b int, u text not null unique, foreign key (b, a) references parent (b, a))`)
	_ = s
	t.Log("parent's key is (a, b), the child names it the other way round")
	o := s.open(t, "")
	s.exec(t, `insert into child values (1, 1.5, '{ok}', null, null, 'u')`)
	actions, _ := pgtest.Drain(t, o, "")
	for c := range actions[0].Changes.All() {
		got := fmt.Sprintf("%+v", *c.Schema)
		want := "{Entity:public.child System:postgres Columns:[{Name:id Type:bigint Base: NotNull:true} {Name:p Type:price Base:numeric(10,2) NotNull:false} " +
			"{Name:m Type:mood[] Base:text[] NotNull:false} {Name:a Type:integer Base: NotNull:false} {Name:b Type:integer Base: NotNull:false} " +
			"{Name:u Type:text Base: NotNull:true}] Key:[id] Unique:[[u]] Foreign:[{Columns:[b a] Entity:public.parent References:[b a]}]}"
		if got != want {
			t.Errorf("schema\n%s\nwant\n%s", got, want)
		}
	}
}

// TestLargeTransactions: streamed and spilled, without what subtransactions took back.
func TestLargeTransactions(t *testing.T) { testenv.EachVersion(t, testLargeTransactions) }

func testLargeTransactions(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table big (id int primary key, v text)`)
	o := s.open(t, "")
	const n = 20000
	for _, stream := range []string{"64kB", "1GB"} {
		s.exec(t, fmt.Sprintf(`do $$ begin execute format('alter database %%I set logical_decoding_work_mem = %%L', current_database(), '%s'); end $$`, stream))
		_ = o.Close()
		pgtest.Open(t, o, o.token)
		s.exec(t, fmt.Sprintf(`begin; truncate big; insert into big select i, repeat('x', 1000) from generate_series(1, %[1]d) i;
savepoint a; insert into big select i, 'gone' from generate_series(100001, 105000) i; rollback to a;
savepoint b; insert into big select i, 'kept' from generate_series(200001, 205000) i; release b;
insert into big values (300000, 'last'); commit`, n))
		s.exec(t, `begin; insert into big select i, 'never' from generate_series(400001, 440000) i; rollback`)
		actions, _ := pgtest.Drain(t, o, o.token)
		if len(actions) != 1 {
			t.Fatalf("%s: %d actions", stream, len(actions))
		}
		if _, ok := actions[0].Changes.(*spilled); !ok {
			t.Errorf("%s: not spilled: %T", stream, actions[0].Changes)
		}
		for range 2 {
			count := 0
			var last *waybill.Change
			for c, err := range actions[0].Changes.All() {
				if err != nil {
					t.Fatal(err)
				}
				if v, _ := c.Row.Get("v"); v.String() == `"gone"` {
					t.Fatal("an aborted subtransaction came through")
				}
				count++
				last = c
			}
			if count != n+5002 || count != actions[0].Changes.Len() || last.Key.String() != `{"id":300000}` {
				t.Errorf("%s: %d changes, Len %d, last %s", stream, count, actions[0].Changes.Len(), last.Key)
			}
		}
	}
}

func TestGaps(t *testing.T) {
	s := newSource(t, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1)`)
	_, first := pgtest.Drain(t, o, "")
	s.exec(t, `insert into c values (2)`)
	_, second := pgtest.Drain(t, o, first)
	if err := o.Ack(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	_ = o.Close()
	pgtest.Open(t, o, second)
	_ = o.Close()
	over := "compare the two sides, then run waybill drop test and start over"
	wantGap(t, o, "", "was confirmed, and the target holds none of it", over)
	wantGap(t, o, first, "past the target's", over)
	other := newSource(t, "")
	wantGap(t, other.new(nil), second, "the position is one of source postgres:", "was replaced or restored from a dump", over)
	s.exec(t, fmt.Sprintf(`select pg_replication_slot_advance('%s', pg_current_wal_lsn())`, s.slot))
	wantGap(t, o, second, "past the target's", "somebody else moved, read or remade the slot", over)
	s.exec(t, fmt.Sprintf(`select pg_drop_replication_slot('%s')`, s.slot))
	wantGap(t, o, second, "the slot "+s.slot+" is gone", over)
	s.exec(t, fmt.Sprintf(`select pg_create_logical_replication_slot('%s', 'pgoutput')`, s.slot))
	wantGap(t, o, second, "past the target's", "remade the slot", over)
}

// TestUnackedAgain: what the target holds though the source never heard is not delivered again.
func TestUnackedAgain(t *testing.T) { testenv.EachVersion(t, testUnackedAgain) }

func testUnackedAgain(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1)`)
	s.exec(t, `insert into c values (2)`)
	_, at := pgtest.Drain(t, o, "")
	s.exec(t, `insert into c values (3)`)
	_ = o.Close()
	pgtest.Open(t, o, at)
	actions, at := pgtest.Drain(t, o, at)
	wantText(t, actions, `insert public.c {"id":3} {"id":3}`)
	if o.Suppressed() != 2 || actions[0].Seq != 3 {
		t.Errorf("suppressed %d, seq %d", o.Suppressed(), actions[0].Seq)
	}
	_ = o.Close()
	p, err := decodePosition(at)
	if err != nil {
		t.Fatal(err)
	}
	p.xid++ // as if the source had another history
	at = p.encode()
	wantGap(t, o, at)
}

func until(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to pass")
		}
		<-tick.C
	}
}

func TestWalsenderKilled(t *testing.T) { testenv.EachVersion(t, testWalsenderKilled) }

func testWalsenderKilled(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key)`)
	o := s.open(t, "")
	s.exec(t, `insert into c values (1)`)
	_, at := pgtest.Drain(t, o, "")
	s.exec(t, `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()`)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := o.Next(ctx); !waybill.Transient(err) {
		t.Fatalf("%v, want a transient error", err)
	}
	s.exec(t, `insert into c values (2)`)
	pgtest.Open(t, o, at)
	actions, _ := pgtest.Drain(t, o, at)
	wantText(t, actions, `insert public.c {"id":2} {"id":2}`)
}

func TestOutboxFromTheLog(t *testing.T) { testenv.EachVersion(t, testOutboxFromTheLog) }

func testOutboxFromTheLog(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table unrelated (id int)`)
	o := s.new(func(opts *Options) { opts.Outbox, opts.Tables = true, nil })
	t.Cleanup(func() { _ = o.Close() })
	pgtest.Open(t, o, "")
	change := `[{"entity":"customer","op":"upsert","key":{"id":1},"row":{"name":"Ann"}}]`
	s.exec(t, `insert into unrelated values (1)`)
	s.exec(t, fmt.Sprintf(`begin; select waybill.emit('first', '%[1]s'); select waybill.emit(null, '%[1]s'); commit`, change))
	s.exec(t, fmt.Sprintf(`select pg_logical_emit_message(true, 'waybill', '{"name":"second","changes":%s}')`, change))
	s.exec(t, fmt.Sprintf(`select pg_logical_emit_message(true, 'waybill', '%s')`, change))
	actions, at := pgtest.Drain(t, o, "")
	one := `upsert customer {"id":1} {"name":"Ann"}`
	wantText(t, actions, one+"\n"+one, one, one)
	if actions[0].Name != "first" || len(actions[0].ID) != 36 || actions[1].Name != "second" || actions[2].Name != "" {
		t.Errorf("%+v", actions)
	}
	s.exec(t, `select pg_logical_emit_message(true, 'waybill', '[{"entity":"x"}]')`)
	if _, _, err := pgtest.Read(t, o, at); err == nil || !strings.Contains(err.Error(), "malformed message") {
		t.Errorf("%v", err)
	}
}

// TestSQL: the publication and the slot are shown, and what is shown can be run.
func TestSQL(t *testing.T) {
	s := newSource(t, `create table public.c (id int primary key)`)
	s.tables = []string{"public.c", "public.d*"}
	sql := s.new(nil).SQL()
	wantWords(t, sql, "create table if not exists waybill.slot", `-- CREATE PUBLICATION "`+s.slot+`" FOR TABLE public.c, <all with a key that public.d* means> WITH (publish_via_partition_root = true);`,
		"-- SELECT pg_create_logical_replication_slot('"+s.slot+"', 'pgoutput');")
	s.exec(t, sql)
	wantWords(t, s.new(func(opts *Options) { opts.Outbox = true }).SQL(), `FOR TABLE waybill.outbox WITH (publish_via_partition_root = true, publish = 'insert');`)
	s.open(t, "")
}

// TestUninstall: nothing is left of what Install made.
func TestUninstall(t *testing.T) {
	for _, outbox := range []bool{false, true} {
		s := newSource(t, `create table public.c (id int primary key)`)
		o := s.new(func(opts *Options) { opts.Outbox = outbox })
		for range 2 {
			if err := o.Install(t.Context(), "test/target"); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.Uninstall(t.Context(), "test/target"); err != nil {
			t.Fatal(err)
		}
		err := o.administer(t.Context(), func(c *sideConn) error {
			left, err := column[string](t.Context(), c, `select nspname::text from pg_namespace where nspname = 'waybill'
union all select pubname::text from pg_publication union all select slot_name::text from pg_replication_slots where database = current_database()`)
			if len(left) > 0 {
				t.Errorf("outbox %v: left: %v", outbox, left)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestPurge: what is in the log may go from the outbox, unless somebody else reads that.
func TestPurge(t *testing.T) {
	s := newSource(t, "")
	o := s.new(func(opts *Options) { opts.Outbox, opts.Tables = true, nil })
	t.Cleanup(func() { _ = o.Close() })
	pgtest.Open(t, o, "")
	conn := pgtest.Connect(t, s.url)
	s.exec(t, `insert into waybill.consumer (name) values ('other')`)
	s.exec(t, `select waybill.emit('first', '[{"entity":"customer","op":"delete","key":{"id":1}}]')`)
	left := func() int {
		t.Helper()
		for range 2 {
			if err := o.side.do(t.Context(), func(c *sideConn) error { return o.purge(t.Context(), c) }); err != nil {
				t.Fatal(err)
			}
			s.exec(t, `select waybill.outbox_purge(0, '0')`)
		}
		return pgtest.Query[int](t, conn, `select count(*) from waybill.outbox`)
	}
	if n := left(); n != 1 {
		t.Errorf("%d rows left that another consumer has not read, of 1", n)
	}
	s.exec(t, `delete from waybill.consumer where name = 'other'`)
	if n := left(); n != 0 {
		t.Errorf("%d rows left", n)
	}
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `delete customer {"id":1} {}`)
}
