// Package pgtest is what the tests of the readers of PostgreSQL share.
package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/testenv"
)

// patience bounds what a test waits for a reader.
const patience = time.Minute

// Connect opens a session that ends with the test.
func Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Session is a connection or a transaction.
type Session interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Query runs SQL that returns one value.
func Query[T any](t testing.TB, s Session, sql string, args ...any) (v T) {
	t.Helper()
	if err := s.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// Emit calls waybill.emit, and returns the action's ID.
func Emit(t testing.TB, s Session, changes ...waybill.Change) string {
	t.Helper()
	return Query[string](t, s, `select waybill.emit($1, $2)::text`, nil, envelope.AppendChanges(nil, changes))
}

type tx struct {
	tx pgx.Tx
	id string
}

// Begin begins a transaction on a connection of its own.
func Begin(t testing.TB, url string) conformance.Tx {
	t.Helper()
	began, err := Connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &tx{tx: began}
}

func (x *tx) Emit(t testing.TB, changes ...waybill.Change) {
	t.Helper()
	x.id = Emit(t, x.tx, changes...)
}

func (x *tx) Commit(t testing.TB) string {
	t.Helper()
	if err := x.tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x.id
}

func (x *tx) Rollback(t testing.TB) {
	t.Helper()
	if err := x.tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Malformed puts an action into the outbox that emit would have refused.
func Malformed(t testing.TB, url string) {
	t.Helper()
	testenv.Exec(t, url, `insert into waybill.outbox (changes) values ('[{"entity":"customer","op":"upsrt","key":{"id":1}}]')`)
}

// Open opens a reader.
func Open(t testing.TB, o waybill.Reader, at waybill.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.Open(ctx, at); err != nil {
		t.Fatal(err)
	}
}

// Drain reads from at up to the head and returns the actions, and where that is.
func Drain(t testing.TB, o waybill.Reader, at waybill.Position) ([]waybill.Action, waybill.Position) {
	t.Helper()
	all, at, err := Read(t, o, at)
	if err != nil {
		t.Fatal(err)
	}
	return all, at
}

// Read is Drain where Next may fail.
func Read(t testing.TB, o waybill.Reader, at waybill.Position) ([]waybill.Action, waybill.Position, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	head, err := o.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var all []waybill.Action
	for !o.Reached(at, head) {
		b, err := o.Next(ctx)
		if err != nil {
			return all, at, err
		}
		if b.After != at {
			t.Fatalf("batch after %q, %q was due", b.After, at)
		}
		all, at = append(all, b.Actions...), b.Upto
	}
	return all, at, nil
}
