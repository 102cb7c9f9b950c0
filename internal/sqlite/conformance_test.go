package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/envelope"
)

// appTx is a transaction of the application with one action in it.
type appTx struct {
	tx *sql.Tx
	id string
}

func (x *appTx) Emit(t testing.TB, changes ...waybill.Change) {
	t.Helper()
	if x.id == "" {
		x.id = fmt.Sprintf("action-%d", time.Now().UnixNano())
	}
	_, err := x.tx.Exec("INSERT INTO waybill_outbox (action, changes) VALUES (?, ?)", x.id, string(envelope.AppendChanges(nil, changes)))
	if err != nil {
		t.Fatal(err)
	}
}

func (x *appTx) Commit(t testing.TB) string {
	t.Helper()
	if err := x.tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return x.id
}

func (x *appTx) Rollback(t testing.TB) {
	t.Helper()
	if err := x.tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

func (a *app) begin(t testing.TB) *appTx {
	t.Helper()
	tx, err := a.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &appTx{tx: tx}
}

func conformanceSource(t *testing.T) conformance.Source {
	const main = "conformance/main"
	a := newSource(t, main)
	var readers []*Outbox
	reader := func(t testing.TB, stream string) waybill.Reader {
		if err := NewOutbox(SourceOptions{Path: a.path}).Install(ctx(t), stream); err != nil {
			t.Fatal(err)
		}
		r := NewOutbox(SourceOptions{Path: a.path, Stream: stream, MaxActions: 10, MaxBytes: 1 << 20})
		readers = append(readers, r)
		return r
	}
	emit := func(t testing.TB, changes ...waybill.Change) string {
		t.Helper()
		tx := a.begin(t)
		tx.Emit(t, changes...)
		return tx.Commit(t)
	}
	return conformance.Source{
		New:  func(t testing.TB) waybill.Reader { return reader(t, main) },
		Emit: emit, Exact: true, MaxActions: 10, MaxBytes: 1 << 20, OneWriter: true,
		Begin:    func(t testing.TB) conformance.Tx { return a.begin(t) },
		Consumer: reader,
		Malformed: func(t testing.TB) {
			a.exec("DROP TRIGGER waybill_outbox_insert")
			a.exec(`INSERT INTO waybill_outbox (changes) VALUES ('[{"entity":"customer"}]')`)
		},
		Purge: func(t testing.TB) {
			for _, r := range readers {
				flushNow(t, r)
			}
		},
		Retained: func(t testing.TB) int {
			n, err := strconv.Atoi(a.rows("SELECT count(DISTINCT action) FROM waybill_outbox"))
			if err != nil {
				t.Fatal(err)
			}
			return n
		},
		Swap: func(t testing.TB) {
			other := newSource(t, main)
			_ = other.Close()
			_ = a.Close()
			copyDB(t, other.path, a.path)
			*a = *openApp(t, a.path)
		},
		Backup: func(t testing.TB) func(testing.TB) {
			saved := filepath.Join(t.TempDir(), "saved.db")
			a.exec("VACUUM INTO '" + saved + "'")
			return func(t testing.TB) {
				_ = a.Close()
				copyDB(t, saved, a.path)
				*a = *openApp(t, a.path, setWAL)
			}
		},
	}
}

func TestReaderConformance(t *testing.T) { conformance.TestReader(t, conformanceSource) }

func TestWriterConformance(t *testing.T) {
	conformance.TestWriter(t, func(t *testing.T) conformance.Target {
		a := newApp(t)
		return conformance.Target{
			New: func(_ testing.TB, owner string) waybill.Writer {
				return NewWriter(TargetOptions{Path: a.path, Owner: owner})
			},
			DB: a.DB, Prefix: "waybill_",
			Expire: func(testing.TB) { a.exec("UPDATE waybill_lease SET expires_ms = 1") },
		}
	})
}

// flushNow writes the acknowledgement that a reader puts off, and removes rows.
func flushNow(t testing.TB, o *Outbox) {
	t.Helper()
	for pending := true; pending; {
		o.mu.Lock()
		if pending = o.aux != nil && o.pending.N > 0; pending {
			if err := o.flushAck(ctx(t)); err != nil {
				t.Error(err)
			}
		}
		open := o.aux != nil
		o.mu.Unlock()
		if open {
			o.purge(ctx(t))
		}
	}
}
