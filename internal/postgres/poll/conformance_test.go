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
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
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

// kept calls f with a connection that is kept.
func (s *source) kept(t testing.TB, f func(conn *pgx.Conn)) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.conn.Ping(t.Context()) != nil { // the server may have been restarted
		s.conn = pgtest.Connect(t, s.url)
	}
	f(s.conn)
}

// query runs SQL that returns one value, on a connection that is kept.
func query[T any](t testing.TB, s *source, sql string, args ...any) (v T) {
	t.Helper()
	s.kept(t, func(conn *pgx.Conn) { v = pgtest.Query[T](t, conn, sql, args...) })
	return v
}

func (s *source) emit(t testing.TB, changes ...waybill.Change) (id string) {
	t.Helper()
	s.kept(t, func(conn *pgx.Conn) { id = pgtest.Emit(t, conn, changes...) })
	return id
}

// purge does what readers do now and then, until nothing more happens.
func (s *source) purge(t testing.TB) {
	t.Helper()
	for range 4 {
		query[string](t, s, `select waybill.outbox_purge(0, '0')`)
	}
}

func (s *source) suite() conformance.Source {
	return conformance.Source{
		New:        func(t testing.TB) waybill.Reader { return s.reader(t, testStream) },
		Emit:       s.emit,
		MaxActions: s.maxActions,
		MaxBytes:   int(s.maxBytes),
		Begin:      func(t testing.TB) conformance.Tx { return pgtest.Begin(t, s.url) },
		Consumer: func(t testing.TB, stream string) waybill.Reader {
			s.install(t, stream)
			return s.reader(t, stream)
		},
		Malformed: func(t testing.TB) { pgtest.Malformed(t, s.url) },
		Purge:     s.purge,
		Retained:  func(t testing.TB) int { return query[int](t, s, `select count(*) from waybill.outbox_order`) },
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

func wantGap(t testing.TB, o *Reader, at waybill.Position) {
	t.Helper()
	if err := o.Open(t.Context(), at); !errors.Is(err, waybill.ErrGap) {
		t.Fatalf("Open(%q): %v, want a gap", at, err)
	}
}

func isGap(err error) bool { return errors.Is(err, waybill.ErrGap) }
