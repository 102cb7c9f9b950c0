package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/poll"
	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/outbox"
)

// openPostgres makes a database with a business table, and with an outbox if install.
func openPostgres(t *testing.T, install bool) (url string, reader waybill.Reader) {
	t.Helper()
	url = testenv.Postgres(t).URL
	testenv.Exec(t, url, customerTable)
	source := poll.NewReader(poll.Options{URL: url, Stream: "p/t"})
	if install {
		if err := source.Install(t.Context(), "p/t"); err != nil {
			t.Fatal(err)
		}
	}
	return url, source
}

// openSQL opens the database through database/sql.
func openSQL(t *testing.T, url string, mode pgx.QueryExecMode) *sql.DB {
	t.Helper()
	db := stdlib.OpenDB(*pgxConfig(t, url, mode))
	t.Cleanup(func() { _ = db.Close() })
	return db
}

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

// All ways of talking to PostgreSQL write the same.
func TestPostgres(t *testing.T) {
	url, reader := openPostgres(t, true)
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()

	var ids []string
	// twice emits two parts of one action in tx.
	twice := func(tx any) {
		t.Helper()
		id, err := outbox.Emit(ctx, tx, outbox.Action{Name: "a", Trace: trace, Changes: []outbox.Change{customer(1, "Ann"), customer(2, `B"o\`)}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := outbox.Emit(ctx, tx, outbox.Action{ID: id, Name: "b", Changes: []outbox.Change{customer(3, "Cé")}})
		if err != nil || again != id {
			t.Fatalf("ID %s became %q, %v", id, again, err)
		}
		if _, err := uuid.Parse(id); err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	for _, mode := range modes {
		db := openSQL(t, url, mode)
		tx := begin(t, db)
		twice(tx)
		execute(t, tx, "insert into customer values (1, 'Ann') on conflict do nothing")
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		lost := begin(t, db)
		twice(lost)
		if err := lost.Rollback(); err != nil {
			t.Fatal(err)
		}
		ids = ids[:len(ids)-1]

		conn, err := pgx.ConnectConfig(ctx, pgxConfig(t, url, mode))
		if err != nil {
			t.Fatal(err)
		}
		native, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		twice(native)
		nested, err := native.Begin(ctx) // a savepoint
		if err != nil {
			t.Fatal(err)
		}
		if _, err := outbox.Emit(ctx, nested, outbox.Action{Changes: []outbox.Change{customer(9, "lost")}}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(nested.Rollback(ctx), native.Commit(ctx), conn.Close(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { twice(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}

	actions := drain(t, reader, len(ids))
	for i, a := range actions {
		requireAction(t, a, ids[i], "b", trace, `Ann B\"o\\ Cé`)
	}
}

func pgxConfig(t *testing.T, url string, mode pgx.QueryExecMode) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	return config
}

func TestPostgresErrors(t *testing.T) {
	url, _ := openPostgres(t, false)
	installed, _ := openPostgres(t, true)
	testenv.Exec(t, installed, "drop role if exists outbox_app; create role outbox_app login password 'app'; grant create on schema public to outbox_app")
	ctx := t.Context()
	action := outbox.Action{Name: "n", Changes: []outbox.Change{customer(1, "Ann")}}
	for name, tc := range map[string]struct {
		url, want string
		action    outbox.Action
	}{
		"not installed": {url, "set the outbox up with: waybill outbox install", action},
		"no right":      {strings.Replace(installed, "waybill:secret-of-the-test", "outbox_app:app", 1), "grant execute on function waybill.emit", action},
		"other ID":      {installed, "leave the ID empty", outbox.Action{ID: "mine", Changes: action.Changes}},
	} {
		t.Run(name, func(t *testing.T) {
			db := openSQL(t, tc.url, pgx.QueryExecModeCacheStatement)
			tx := begin(t, db)
			defer tx.Rollback()
			conn, err := pgx.Connect(ctx, tc.url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			native, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, tx := range []any{tx, native} {
				_, err := outbox.Emit(ctx, tx, tc.action)
				var pg *pgconn.PgError
				if err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, &pg) != (name != "other ID") {
					t.Errorf("%T: %v", tx, err)
				}
			}
		})
	}
	conn, err := pgx.Connect(ctx, installed)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := outbox.Emit(ctx, conn, action); err == nil || !strings.Contains(err.Error(), "*pgx.Conn is not a transaction") {
		t.Errorf("got %v", err)
	}
	if _, err := outbox.Emit(ctx, openSQL(t, installed, 0), action); err == nil || !strings.Contains(err.Error(), "*sql.DB is not a transaction") {
		t.Errorf("got %v", err)
	}
}

// Whatever Emit lets through PostgreSQL takes, with the characters and numbers it was given.
func TestPostgresTakesOddValues(t *testing.T) {
	url, reader := openPostgres(t, true)
	db := openSQL(t, url, pgx.QueryExecModeCacheStatement)
	odd := outbox.Row{"ключ \"'\\ $1 ? :x": "\u2028 \x01 😀 '; --", "n": 1.5e300, "e": "", "deep": []any{[]any{map[string]any{"": nil}}}}
	tx := begin(t, db)
	if _, err := outbox.Emit(t.Context(), tx, outbox.Action{Changes: []outbox.Change{outbox.Upsert("we'ird\"", outbox.Row{"id": "a'b"}, odd)}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for c, err := range drain(t, reader, 1)[0].Changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		v, ok := c.Row.Get("ключ \"'\\ $1 ? :x")
		if c.Entity != "we'ird\"" || !ok || !strings.Contains(v.String(), "😀 '; --") || len(c.Row) != len(odd) {
			t.Errorf("got %s %s %s", c.Entity, c.Key, c.Row)
		}
	}
}

// The examples do in PostgreSQL what they say.
func TestPostgresExamples(t *testing.T) {
	url, reader := openPostgres(t, true)
	if err := createCustomer(t.Context(), openSQL(t, url, pgx.QueryExecModeCacheStatement), exampleCustomer{ID: 42, Credit: "10.50"}, "1"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := deleteCustomer(t.Context(), conn, 42); err != nil {
		t.Fatal(err)
	}
	actions := drain(t, reader, 2)
	if actions[0].Name != "customer.created" || actions[0].Changes.Len() != 2 || actions[1].Name != "customer.deleted" {
		t.Errorf("got %+v", actions)
	}
	for c := range actions[0].Changes.All() {
		if credit, _ := c.Row.Get("credit"); c.Entity == "customer" && credit.String() != "10.50" {
			t.Errorf("credit became %s", credit)
		}
	}
}
