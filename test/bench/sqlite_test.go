//go:build bench

package bench

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybill-data/waybill/internal/sqlite"
)

type tag = pgconn.CommandTag

func replaceDatabase(url, name string) string {
	return strings.Replace(url, "/postgres?", "/"+name+"?", 1)
}

func applySQLite(t *testing.T) comparison {
	const n = 100_000
	c := comparison{
		name: "apply into SQLite", unit: "rows/s", asked: 0.8,
		yardstick: "`database/sql`, one prepared upsert statement, 1,000 random-key rows a transaction, WAL, `synchronous=FULL`",
		engine:    "`Write` of batches of 1,000 actions, each one upsert as it comes from an outbox (JSON), with the position",
	}
	batches := upserts(t, n)
	for range *rounds {
		path := filepath.Join(t.TempDir(), "plain.db")
		db := openTarget(t, path)
		c.plain = append(c.plain, rate(t, n, func(ctx context.Context) error { return upsertPlain(ctx, db, n) }))

		path = filepath.Join(t.TempDir(), "ours.db")
		db = openTarget(t, path)
		c.ours = append(c.ours, writeAll(t, n, sqlite.NewWriter(sqlite.TargetOptions{Path: path}), batches))
		var got int
		if err := db.QueryRow("select count(*) from customer").Scan(&got); err != nil || got != n {
			t.Fatalf("the target holds %d rows of %d: %v", got, n, err)
		}
	}
	return c
}

func openTarget(t *testing.T, path string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec("create table customer (id integer primary key, name text not null, email text, note text, visits integer)"); err != nil {
		t.Fatal(err)
	}
	return db
}

func upsertPlain(ctx context.Context, db *sql.DB, n int) error {
	for i := 0; i < n; i += 1000 {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		st, err := tx.Prepare(`insert into customer (id, name, email, note, visits) values (?, ?, ?, ?, ?) on conflict (id)
			do update set name = excluded.name, email = excluded.email, note = excluded.note, visits = excluded.visits`)
		if err != nil {
			return err
		}
		for j := i; j < i+1000; j++ {
			name, email, note := payload(j)
			if _, err := st.Exec(scatter(j, n), name, email, note, j); err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}
