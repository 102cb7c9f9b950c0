package wal

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

const conformanceStream = "conformance/target"

// outboxSource is an installed outbox that is read from the log.
type outboxSource struct {
	url     string
	name    string // of the database, in the names of slots
	streams map[string]bool
	conn    *pgx.Conn
}

func newOutboxSource(t testing.TB, major int) *outboxSource {
	t.Helper()
	db := testenv.PostgresVersion(t, major)
	s := &outboxSource{url: db.URL, name: db.Name, streams: map[string]bool{}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for stream := range s.streams {
			o := s.new(stream)
			if err := o.Drop(ctx, stream); err != nil {
				t.Error(err)
			}
			_ = o.Close()
		}
	})
	s.reader(t, conformanceStream)
	s.conn = pgtest.Connect(t, s.url)
	return s
}

func (s *outboxSource) new(stream string) *Reader {
	return NewReader(Options{
		URL: s.url, Stream: stream, Slot: SlotName(s.name + stream), Outbox: true, MaxActions: 10, MaxBytes: 1 << 20,
	})
}

// reader makes a reader of a stream that is installed.
func (s *outboxSource) reader(t testing.TB, stream string) *Reader {
	t.Helper()
	o := s.new(stream)
	if !s.streams[stream] {
		if err := o.Install(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		s.streams[stream] = true
	}
	return o
}

func TestReaderConformance(t *testing.T) { testenv.EachVersion(t, testReaderConformance) }

func testReaderConformance(t *testing.T, major int) {
	conformance.TestReader(t, func(t *testing.T) conformance.Source {
		s := newOutboxSource(t, major)
		return conformance.Source{
			New:        func(t testing.TB) waybill.Reader { return s.reader(t, conformanceStream) },
			Emit:       func(t testing.TB, changes ...waybill.Change) string { return pgtest.Emit(t, s.conn, changes...) },
			MaxActions: 10,
			MaxBytes:   1 << 20,
			Begin:      func(t testing.TB) conformance.Tx { return pgtest.Begin(t, s.url) },
			Malformed:  func(t testing.TB) { pgtest.Malformed(t, s.url) },
		}
	})
}

func TestCheck(t *testing.T) { testenv.EachVersion(t, testCheck) }

func testCheck(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key); create table nokey (a int); create table g (id int primary key, d int generated always as (id * 2) stored)`)
	s.tables = append(s.tables, "nokey")
	o := s.open(t, "")
	s.exec(t, `create table public.late (id int primary key)`)
	found, err := o.Check(t.Context(), "test/target")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, f := range found {
		if !f.OK {
			got += fmt.Sprintf("%s | %s\n", f.What, f.Fix)
		}
	}
	want := `the source runs with fsync off: a crash may take back what was handed on | ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();
publication %[1]s lacks "public"."late", so that changes there are not in the log | ALTER PUBLICATION "%[1]s" ADD TABLE "public"."late";
table public.nokey has no key: its updates and deletes are refused at the source | ALTER TABLE "public"."nokey" ADD PRIMARY KEY (…); (or ALTER TABLE "public"."nokey" REPLICA IDENTITY FULL; where the target has a unique key)
generated columns are not in the log of PostgreSQL 15: public.g.d | generate them at the target too
`
	err = o.side.do(t.Context(), func(c *sideConn) error {
		if c.identity.Version >= 180000 { // has them in its log
			want, _, _ = strings.Cut(want, "generated columns")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got != fmt.Sprintf(want, s.slot) {
		t.Errorf("found\n%s", got)
	}
	if err := o.side.do(t.Context(), func(c *sideConn) error { return o.upkeep(t.Context(), c) }); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `insert into late values (1)`)
	actions, _ := pgtest.Drain(t, o, "")
	wantText(t, actions, `insert public.late {"id":1} {"id":1}`)
}
