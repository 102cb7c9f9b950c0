package outbox

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

const (
	emitPostgres = "select waybill.emit($1::text, $2::text::jsonb, $3::text)::text"
	emitSQLite   = "insert into waybill_outbox (action, name, trace, changes) values (?, ?, ?, ?)"
)

// sqlTx has the methods of a transaction that Emit needs in the form of database/sql.
type sqlTx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

type scanner interface{ Scan(dest ...any) error }

type sendFunc func(context.Context, message) (string, error)

// sender finds out what tx is. A transaction is what can be committed and rolled back;
// *sql.Conn is let through because it is the only way to a "begin immediate" in SQLite.
func sender(tx any) (sendFunc, error) {
	v := reflect.ValueOf(tx)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("there is no transaction, tx is nil")
	}
	_, isConn := tx.(*sql.Conn)
	_, isSQL := tx.(interface {
		Commit() error
		Rollback() error
	})
	if t, ok := tx.(sqlTx); ok && (isSQL || isConn) {
		return func(ctx context.Context, m message) (string, error) { return sendSQL(ctx, t, m) }, nil
	}
	_, isPgx := tx.(interface {
		Commit(ctx context.Context) error
		Rollback(ctx context.Context) error
	})
	if query, ok := pgxQueryRow(v); ok && isPgx {
		return func(ctx context.Context, m message) (string, error) { return sendPostgres(ctx, query, m) }, nil
	}
	return nil, fmt.Errorf("%T is not a transaction; give it the *sql.Tx or pgx.Tx in which the data is written", tx)
}

type queryRow func(ctx context.Context, query string, args ...any) scanner

// pgxQueryRow is the method QueryRow of a pgx transaction. It is called through reflection
// because its result is a type of pgx's own, and importing that would put pgx into every
// application that writes to SQLite.
func pgxQueryRow(tx reflect.Value) (queryRow, bool) {
	method := tx.MethodByName("QueryRow")
	if !method.IsValid() {
		return nil, false
	}
	want := reflect.TypeFor[func(context.Context, string, ...any) scanner]()
	got := method.Type()
	if got.NumIn() != 3 || got.NumOut() != 1 || !got.IsVariadic() || !got.Out(0).Implements(want.Out(0)) {
		return nil, false
	}
	for i := range 3 {
		if got.In(i) != want.In(i) {
			return nil, false
		}
	}
	return func(ctx context.Context, query string, args ...any) scanner {
		out := method.CallSlice([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(query), reflect.ValueOf(args)})
		row, _ := reflect.TypeAssert[scanner](out[0]) // its type was looked at above
		return row
	}, true
}

// sendSQL speaks PostgreSQL first, because there a statement that fails spoils the whole
// transaction: it may only be one whose failure is to be reported anyway. SQLite merely
// refuses to prepare what it does not know. The other way round PostgreSQL could not read the
// question marks, so that what succeeds has reached the right one.
func sendSQL(ctx context.Context, tx sqlTx, m message) (string, error) {
	id, err := sendPostgres(ctx, func(ctx context.Context, query string, args ...any) scanner {
		return tx.QueryRowContext(ctx, query, args...)
	}, m)
	var state interface{ SQLState() string } // errors of PostgreSQL have it with every driver
	if err == nil || ctx.Err() != nil || errors.As(err, &state) {
		return id, err
	}
	id, liteErr := sendSQLite(ctx, tx, m)
	if liteErr == nil {
		return id, nil
	}
	var version string
	if tx.QueryRowContext(ctx, "select sqlite_version()").Scan(&version) != nil {
		return "", err
	}
	return "", liteErr
}

func sendPostgres(ctx context.Context, query queryRow, m message) (string, error) {
	var id string
	err := query(ctx, emitPostgres, m.name, m.changes, m.trace).Scan(&id)
	if err != nil {
		return "", withRemedy(err)
	}
	if m.id != "" && m.id != id {
		return "", fmt.Errorf("ID %q was given, but this transaction's action is %s; leave the ID empty", m.id, id)
	}
	return id, nil
}

// withRemedy tells what to do about what PostgreSQL said.
func withRemedy(err error) error {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return err
	}
	switch state.SQLState() {
	case "3F000", "42883": // no such schema, function
		return fmt.Errorf("%w; set the outbox up with: waybill outbox install", err)
	case "42501": // insufficient privilege
		return fmt.Errorf("%w; as the outbox's owner: grant usage on schema waybill to the application's role, "+
			"grant execute on function waybill.emit(text, jsonb, text) to it", err)
	}
	return err
}

func sendSQLite(ctx context.Context, tx sqlTx, m message) (string, error) {
	if m.id == "" {
		m.id = newID()
	}
	_, err := tx.ExecContext(ctx, emitSQLite, m.id, m.name, m.trace, m.changes)
	if err != nil && strings.Contains(err.Error(), "no such table: waybill_outbox") {
		return "", fmt.Errorf("%w; set the outbox up with: waybill outbox install", err)
	}
	if err != nil {
		return "", err
	}
	return m.id, nil
}

// newID is a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it would end the program
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
