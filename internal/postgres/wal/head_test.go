package wal

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

// TestIdleMoves: the position, and with it the slot, follows a log in which nothing is for the
// stream: another database writes it.
func TestIdleMoves(t *testing.T) { testenv.EachVersion(t, testIdleMoves) }

func testIdleMoves(t *testing.T, major int) {
	s, busy := newSourceOn(t, major, `create table c (id int primary key)`), newSourceOn(t, major, "")
	o := s.open(t, "")
	o.idleEvery = time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	before, at := pgtest.Drain(t, o, "")
	if len(before) != 0 {
		t.Fatal("actions from nowhere")
	}
	busy.exec(t, `select count(pg_logical_emit_message(true, 'else', repeat('x', 1000000))) from generate_series(1, 20)`)
	if r, err := o.Retained(ctx); err != nil || !r.Active || r.Unconfirmed < 20_000_000 {
		t.Errorf("%+v, %v, with 20 MB to read", r, err)
	}
	if err := o.side.do(ctx, func(c *sideConn) error { return o.upkeep(ctx, c) }); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := o.Next(ctx)
		if err != nil || len(b.Actions) != 0 || b.After != at || b.Upto == at {
			t.Fatalf("%+v %v", b, err)
		}
		at = b.Upto
		if err := o.Ack(ctx, at); err != nil {
			t.Fatal(err)
		}
		if pgtest.Query[bool](t, pgtest.Connect(t, s.url), `select pg_current_wal_flush_lsn() - $1::text::pg_lsn < 1000000`, o.at.lsn.String()) {
			break
		}
	}
	until(t, func() bool {
		r, err := o.Retained(ctx)
		return err == nil && r.Status == "reserved" && r.Unconfirmed < 1_000_000
	})
}

// insertLSN is where the source's log ends.
func insertLSN(t testing.TB, conn *pgx.Conn) (lsn string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `select pg_current_wal_insert_lsn()::text`).Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	return lsn
}

// TestIdleWritesNothing: where nothing happens, asking for the head and looking after the source
// write nothing to the source's log, and the position stands still.
func TestIdleWritesNothing(t *testing.T) { testenv.EachVersion(t, testIdleWritesNothing) }

func testIdleWritesNothing(t *testing.T, major int) {
	for _, outbox := range []bool{false, true} {
		t.Run(fmt.Sprintf("outbox %v", outbox), func(t *testing.T) {
			s := newSourceOn(t, major, `create table c (id int primary key)`)
			o := s.new(func(opts *Options) { opts.Outbox = outbox })
			t.Cleanup(func() { _ = o.Close() })
			pgtest.Open(t, o, "")
			o.idleEvery = time.Millisecond
			step := o.upkeep
			if outbox {
				step = o.purge
				s.exec(t, `select waybill.emit('first', '[{"entity":"customer","op":"delete","key":{"id":1}}]')`)
				s.exec(t, `select waybill.outbox_purge(0, '0')`)
			} else {
				s.exec(t, `insert into c values (1)`)
			}
			actions, at := pgtest.Drain(t, o, "")
			if len(actions) != 1 {
				t.Fatalf("%d actions", len(actions))
			}

			var batches atomic.Int64
			var upto atomic.Value
			upto.Store(at)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					b, err := o.Next(ctx)
					if err != nil {
						return
					}
					upto.Store(b.Upto)
					batches.Add(1)
				}
			}()
			defer func() { cancel(); <-done }()
			conn, err := pgx.Connect(t.Context(), s.url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			until(t, func() bool { // the server itself writes now and then
				n, lsn := batches.Load(), insertLSN(t, conn)
				reached := true
				for range 5 {
					head, err := o.Head(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					reached = reached && o.Reached(upto.Load().(waybill.Position), head)
					if err := o.side.do(t.Context(), func(c *sideConn) error { return step(t.Context(), c) }); err != nil {
						t.Fatal(err)
					}
				}
				return reached && lsn == insertLSN(t, conn) && n == batches.Load()
			})
		})
	}
}

// TestHeadFlushes: what the server does not flush by itself does not keep Next from the head.
func TestHeadFlushes(t *testing.T) { testenv.EachVersion(t, testHeadFlushes) }

func testHeadFlushes(t *testing.T, major int) {
	s := newSourceOn(t, major, `create table c (id int primary key); create table o (id int)`)
	o := s.open(t, "")
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, at := pgtest.Drain(t, o, "")
	for i := range 3 {
		if _, err := conn.Exec(t.Context(), `begin`); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `insert into o values (1)`); err != nil { // not committed, not flushed
			t.Fatal(err)
		}
		testenv.Exec(t, s.url, fmt.Sprintf(`set synchronous_commit = off; insert into c values (%d)`, i))
		actions, upto := pgtest.Drain(t, o, at)
		if len(actions) != 1 {
			t.Fatalf("%d actions before the head", len(actions))
		}
		at = upto
		if _, err := conn.Exec(t.Context(), `insert into o values (2)`); err != nil {
			t.Fatal(err)
		}
		head, err := o.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := decodePosition(head)
		if err != nil {
			t.Fatal(err)
		}
		var flushed bool
		if err := conn.QueryRow(t.Context(), `select pg_current_wal_flush_lsn() >= $1::text::pg_lsn`, p.lsn.String()).Scan(&flushed); err != nil {
			t.Fatal(err)
		}
		if !flushed {
			t.Fatalf("the head %s may be reached any time: the server has not flushed that", head)
		}
		if actions, at = pgtest.Drain(t, o, at); len(actions) != 0 {
			t.Fatalf("%d actions from nowhere", len(actions))
		}
		if _, err := conn.Exec(t.Context(), `rollback`); err != nil {
			t.Fatal(err)
		}
	}
}
