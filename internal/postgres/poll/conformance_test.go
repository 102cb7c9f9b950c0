package poll

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/postgres/server"
	"github.com/waybill-data/waybill/internal/testenv"
)

const testStream = "conformance/target"

// source is an installed outbox with what tests do at it.
type source struct {
	url        string
	maxActions int
	maxBytes   int64

	mu   sync.Mutex
	conn *pgx.Conn // of query
}

// newSource makes a database with an outbox and one consumer.
func newSource(t testing.TB) *source {
	t.Helper()
	s := &source{url: testenv.Postgres(t).URL}
	s.install(t, testStream)
	return s
}

func (s *source) install(t testing.TB, streams ...string) {
	t.Helper()
	if err := NewReader(Options{URL: s.url}).Install(t.Context(), streams...); err != nil {
		t.Fatal(err)
	}
}

// reader makes a reader that acknowledges at once and purges only when told.
func (s *source) reader(t testing.TB, stream string) *Reader {
	t.Helper()
	o := NewReader(Options{URL: s.url, Stream: stream, MaxActions: s.maxActions, MaxBytes: s.maxBytes})
	o.side.ackEvery, o.side.purgeEvery, o.side.flipBytes, o.side.flipAge = 0, time.Hour, 0, 0
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// purgeNow does what the reader does now and then.
func (o *Reader) purgeNow(ctx context.Context) (string, error) {
	if err := o.side.lock(ctx); err != nil {
		return "", err
	}
	defer o.side.unlock()
	return o.side.purge(ctx)
}

func (s *source) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// query runs SQL that returns one value, on a connection that is kept.
func query[T any](t testing.TB, s *source, sql string, args ...any) (v T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.conn.Ping(t.Context()) != nil { // the server may have been restarted
		s.conn = s.connect(t)
	}
	if err := s.conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

const emitSQL = `select waybill.emit($1, $2)::text`

func (s *source) emit(t testing.TB, changes ...waybill.Change) string {
	t.Helper()
	return query[string](t, s, emitSQL, nil, envelope.AppendChanges(nil, changes))
}

// purge does what readers do now and then, until nothing more happens.
func (s *source) purge(t testing.TB) {
	t.Helper()
	for range 4 {
		query[string](t, s, `select waybill.outbox_purge(0, '0')`)
	}
}

type sourceTx struct {
	tx pgx.Tx
	id string
}

func (s *source) begin(t testing.TB) conformance.Tx {
	t.Helper()
	tx, err := s.connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &sourceTx{tx: tx}
}

func (x *sourceTx) Emit(t testing.TB, changes ...waybill.Change) {
	t.Helper()
	if err := x.tx.QueryRow(t.Context(), emitSQL, nil, envelope.AppendChanges(nil, changes)).Scan(&x.id); err != nil {
		t.Fatal(err)
	}
}

func (x *sourceTx) Commit(t testing.TB) string {
	t.Helper()
	if err := x.tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x.id
}

func (x *sourceTx) Rollback(t testing.TB) {
	t.Helper()
	if err := x.tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (s *source) suite() conformance.Source {
	return conformance.Source{
		New:        func(t testing.TB) waybill.Reader { return s.reader(t, testStream) },
		Emit:       s.emit,
		MaxActions: s.maxActions,
		MaxBytes:   int(s.maxBytes),
		Begin:      s.begin,
		Consumer: func(t testing.TB, stream string) waybill.Reader {
			s.install(t, stream)
			return s.reader(t, stream)
		},
		Malformed: func(t testing.TB) {
			testenv.Exec(t, s.url, `insert into waybill.outbox (changes) values ('[{"entity":"customer","op":"upsrt","key":{"id":1}}]')`)
		},
		Purge:    s.purge,
		Retained: func(t testing.TB) int { return query[int](t, s, `select count(*) from waybill.outbox_order`) },
		Swap: func(t testing.TB) {
			if s.conn != nil {
				_ = s.conn.Close(t.Context())
			}
			swap(t, s.url)
			s.install(t, testStream)
		},
	}
}

// swap replaces a database by an empty one of the same name.
func swap(t testing.TB, url string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	name := cfg.Database
	cfg.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{"drop database %s with (force)", "create database %s"} {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf(sql, server.Quote(name))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReaderConformance(t *testing.T) {
	conformance.TestReader(t, func(t *testing.T) conformance.Source {
		s := newSource(t)
		s.maxActions, s.maxBytes = 10, 1<<20
		return s.suite()
	})
}

// drain reads up to the head and returns the actions.
func drain(t testing.TB, o *Reader, at waybill.Position) ([]waybill.Action, waybill.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	head, err := o.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all []waybill.Action
	for !o.Reached(at, head) {
		b, err := o.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b.After != at {
			t.Fatalf("batch after %q, %q was due", b.After, at)
		}
		all, at = append(all, b.Actions...), b.Upto
	}
	return all, at
}

func open(t testing.TB, o *Reader, at waybill.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := o.Open(ctx, at); err != nil {
		t.Fatal(err)
	}
}

func wantGap(t testing.TB, o *Reader, at waybill.Position) {
	t.Helper()
	if err := o.Open(t.Context(), at); !errors.Is(err, waybill.ErrGap) {
		t.Fatalf("Open(%q): %v, want a gap", at, err)
	}
}

func isGap(err error) bool { return errors.Is(err, waybill.ErrGap) }
