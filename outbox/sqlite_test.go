package outbox_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/sqlite"
	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/outbox"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const customerTable = "create table customer (id bigint primary key, name text)"

// openSQLite makes a database with a business table, and with an outbox if install.
func openSQLite(t *testing.T, install bool) (*sql.DB, *sqlite.Outbox) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Exec(customerTable); err != nil {
		t.Fatal(err)
	}
	reader := sqlite.NewOutbox(sqlite.SourceOptions{Path: path, Stream: "p/t"})
	if install {
		if err := reader.Install(t.Context(), "p/t"); err != nil {
			t.Fatal(err)
		}
	}
	return db, reader
}

func customer(id int, name string) outbox.Change {
	return outbox.Upsert("customer", outbox.Row{"id": id}, outbox.Row{"name": name})
}

// drain reads n actions, and verifies that there are no more.
func drain(t *testing.T, r waybill.Reader, n int) []waybill.Action {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Open(ctx, ""); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head, err := r.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var actions []waybill.Action
	for {
		b, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, b.Actions...)
		if r.Reached(b.Upto, head) {
			break
		}
	}
	if len(actions) != n {
		t.Fatalf("read %d actions, want %d", len(actions), n)
	}
	return actions
}

// requireAction compares an action with its ID, name and the names that its changes carry.
func requireAction(t *testing.T, a waybill.Action, id, name, trace, names string) {
	t.Helper()
	var got []string
	for c, err := range a.Changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		v, _ := c.Row.Get("name")
		got = append(got, strings.Trim(v.String(), `"`))
	}
	if a.ID != id || a.Name != name || a.Trace != trace || strings.Join(got, " ") != names {
		t.Errorf("got action %q %q %q with %v\nwant       %q %q %q with %s", a.ID, a.Name, a.Trace, got, id, name, trace, names)
	}
}

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestSQLite(t *testing.T) {
	db, reader := openSQLite(t, true)
	ctx := t.Context()
	emit := func(tx any, a outbox.Action) string {
		t.Helper()
		id, err := outbox.Emit(ctx, tx, a)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}

	// The data before and after a call and the actions are committed together.
	tx := begin(t, db)
	execute(t, tx, "insert into customer values (1, 'Ann')")
	first := emit(tx, outbox.Action{Name: "customer.created", Trace: trace, Changes: []outbox.Change{customer(1, "Ann"), customer(2, "Bo")}})
	execute(t, tx, "insert into customer values (2, 'Bo')")
	if again := emit(tx, outbox.Action{ID: first, Name: "customers.created", Changes: []outbox.Change{customer(3, "Cy")}}); again != first {
		t.Errorf("ID %s became %s", first, again)
	}
	second := emit(tx, outbox.Action{Changes: []outbox.Change{customer(4, "Di")}})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}

	// What is rolled back was never there.
	tx = begin(t, db)
	emit(tx, outbox.Action{Changes: []outbox.Change{customer(5, "lost")}})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}

	// A connection on which a transaction was begun by hand.
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "begin immediate")
	third := emit(conn, outbox.Action{Changes: []outbox.Change{customer(6, "Ed")}})
	execute(t, conn, "commit")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}

	actions := drain(t, reader, 3)
	requireAction(t, actions[0], first, "customers.created", trace, "Ann Bo Cy")
	requireAction(t, actions[1], second, "", "", "Di")
	requireAction(t, actions[2], third, "", "", "Ed")
	var n int
	if err := db.QueryRow("select count(*) from customer").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d customers, %v", n, err)
	}
}

func TestSQLiteWithoutOutbox(t *testing.T) {
	db, _ := openSQLite(t, false)
	tx := begin(t, db)
	defer tx.Rollback()
	_, err := outbox.Emit(t.Context(), tx, outbox.Action{Name: "n", Changes: []outbox.Change{customer(1, "Ann")}})
	if err == nil || !strings.Contains(err.Error(), "no such table: waybill_outbox") || !strings.HasSuffix(err.Error(), "waybill outbox install") {
		t.Errorf("got %v", err)
	}
}

// The checks of the table itself are reached when somebody gives a wrong ID.
func TestSQLiteRefusesAnOldID(t *testing.T) {
	db, _ := openSQLite(t, true)
	tx := begin(t, db)
	defer tx.Rollback()
	change := []outbox.Change{customer(1, "Ann")}
	first, err := outbox.Emit(t.Context(), tx, outbox.Action{Changes: change})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Emit(t.Context(), tx, outbox.Action{Changes: change}); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Emit(t.Context(), tx, outbox.Action{ID: first, Changes: change}); err == nil {
		t.Error("an action was continued behind another one")
	}
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func execute(t *testing.T, tx interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string,
) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}
