package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
)

// TestConcurrentApplications lets several connections write random actions at once, some of
// them rolled back in whole or in part, while a reader follows. Every transaction also
// writes into a ledger, whose order is the order of commits.
func TestConcurrentApplications(t *testing.T) {
	a := newSource(t, testStream, "p/other")
	a.exec("CREATE TABLE ledger (k integer PRIMARY KEY, action text, changes integer)")
	const writers, rounds = 4, 40
	var apps sync.WaitGroup
	for i := range writers {
		db := openApp(t, a.path)
		apps.Go(func() { randomActions(t, db, rand.New(rand.NewPCG(uint64(i), 7)), i, rounds) })
	}
	defer apps.Wait()
	done := make(chan struct{})
	go func() {
		defer close(done)
		apps.Wait()
	}()

	r := a.reader(SourceOptions{MaxActions: 7, MaxDelay: time.Millisecond})
	r.open("", 0)
	var have []string
	count := func(b waybill.Batch) {
		for i := range b.Actions {
			have = append(have, fmt.Sprintf("%s|%d", b.Actions[i].ID, b.Actions[i].Changes.Len()))
		}
		if err := b.CheckDense(testStream, r.seq); err != nil {
			t.Error(err)
		}
		r.at, r.seq = b.Upto, b.LastSeq(r.seq)
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if _, err := r.Head(ctx(t)); err != nil {
			t.Fatal(err)
		}
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		count(b)
		if len(have)%3 == 0 {
			r.ack()
		}
	}
	head, _ := r.Head(ctx(t))
	for !r.Reached(r.at, head) {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		count(b)
	}
	want := a.rows("SELECT action, changes FROM ledger ORDER BY k")
	if got := strings.Join(have, "\n"); got != want {
		t.Fatalf("actions handed on and those committed differ:\nhave\n%s\nwant\n%s", got, want)
	}
	other := a.reader(SourceOptions{Stream: "p/other"})
	other.open("", 0)
	if n := len(other.drain()); n != len(have) {
		t.Fatalf("the other consumer got %d of %d actions", n, len(have))
	}
}

func randomActions(t *testing.T, a *app, rng *rand.Rand, writer, rounds int) {
	conn, err := a.Conn(context.Background())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	failed := false
	exec := func(query string, args ...any) {
		if _, err := conn.ExecContext(context.Background(), query, args...); err != nil && !failed {
			failed = true
			t.Errorf("%s: %v", query, err)
		}
	}
	for i := range rounds {
		if exec("BEGIN IMMEDIATE"); failed {
			return
		}
		actions := 1 + rng.IntN(2)
		for j := range actions {
			id := fmt.Sprintf("w%d-%d-%d", writer, i, j)
			changes := 0
			for range 1 + rng.IntN(4) {
				exec("SAVEPOINT s")
				exec("INSERT INTO waybill_outbox (action, changes) VALUES (?, ?)", id, upsertText(i))
				if changes > 0 && rng.IntN(3) == 0 {
					exec("ROLLBACK TO s")
				} else {
					changes++
				}
				exec("RELEASE s")
			}
			exec("INSERT INTO ledger (action, changes) VALUES (?, ?)", id, changes)
		}
		if rng.IntN(4) == 0 {
			exec("ROLLBACK")
		} else {
			exec("COMMIT")
		}
	}
}

// TestNumbersAfterPurge: numbers go on where they were when all rows are gone.
func TestNumbersAfterPurge(t *testing.T) {
	a := newSource(t, testStream)
	r := a.opened("", 0)
	a.emit("a", 1)
	r.take(1)
	r.ack()
	flushNow(t, r.Outbox)
	a.want("SELECT count(*) FROM waybill_outbox", "0")
	a.exec("VACUUM")
	a.emit("b", 2)
	if ids := r.take(1); ids[0] != "b" || r.seq != 2 {
		t.Fatalf("read %v up to %d", ids, r.seq)
	}
	_, err := a.Exec("INSERT INTO waybill_outbox (n, changes) VALUES (1, '[]')")
	wantRaise(t, "a number that was used before", err, "leave out n, it is numbered without holes")
}

func TestActionAttributes(t *testing.T) {
	a := newSource(t, testStream)
	a.exec(`INSERT INTO waybill_outbox (action, name, trace, at, changes) VALUES ('x', 'first', 't', '2026-01-31T12:00:00.250Z', '[]'), ('x', 'last', NULL, '2026-01-31 12:00:01', '[]')`)
	r := a.opened("", 0)
	b, err := r.Next(ctx(t))
	if err != nil || len(b.Actions) != 1 {
		t.Fatalf("%d actions, %v", len(b.Actions), err)
	}
	got := b.Actions[0]
	if got.Name != "last" || got.Trace != "t" || !got.Time.Equal(time.Date(2026, 1, 31, 12, 0, 1, 0, time.UTC)) || got.Time.Location() != time.UTC {
		t.Fatalf("name %q, trace %q, time %v", got.Name, got.Trace, got.Time)
	}
	if b.At(0) != b.Upto {
		t.Fatalf("At(0) is %q, Upto %q", b.At(0), b.Upto)
	}
}

// TestRemovedRows: rows that disappear before they were read are a gap, wherever they were.
func TestRemovedRows(t *testing.T) {
	for _, where := range []string{"n = 3", "n = 4", "n >= 4", "n > 2"} {
		t.Run(where, func(t *testing.T) {
			a := newSource(t, testStream)
			r := a.opened("", 0)
			a.emit("a", 1)
			a.emit("b", 1)
			r.take(2)
			tx := a.begin(t)
			for _, id := range []string{"c", "d", "e"} {
				if _, err := tx.tx.Exec("INSERT INTO waybill_outbox (action, changes) VALUES (?, '[]')", id); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := tx.tx.Exec("DELETE FROM waybill_outbox WHERE " + where); err != nil {
				t.Fatal(err)
			}
			tx.Commit(t)
			err := error(nil)
			for err == nil {
				_, err = r.next()
			}
			wantErr(t, err, waybill.ErrGap, "of waybill_outbox were removed before they were read")
			for range 2 {
				_, err = r.next()
				wantErr(t, err, waybill.ErrGap)
			}
		})
	}
}

// TestReplacedUnderReader: the file at the path is another one.
func TestReplacedUnderReader(t *testing.T) {
	for _, how := range []string{"replaced", "removed", "copy of itself", "overwritten in place"} {
		t.Run(how, func(t *testing.T) {
			a, other := newSource(t, testStream), newSource(t, testStream)
			a.emit("a", 1)
			r := a.opened("", 0)
			r.take(1)
			other.emit("b", 2)
			other.emit("c", 2)
			_ = other.Close()
			switch how {
			case "replaced":
				copyDB(t, other.path, a.path)
			case "removed":
				_ = os.Remove(a.path)
			case "copy of itself":
				if err := exchange(a.path); err != nil {
					t.Fatal(err)
				}
			case "overwritten in place":
				// What .restore of the command line does: the contents, under the same inode.
				a.exec("DELETE FROM waybill_outbox")
				a.exec("DELETE FROM sqlite_sequence")
				a.emit("z", 1)
				a.emit("y", 1)
			}
			_, err := r.next()
			wantErr(t, err, waybill.ErrGap)
			if how != "overwritten in place" {
				if _, err := r.Head(ctx(t)); !errors.Is(err, waybill.ErrGap) {
					t.Fatalf("Head: %v", err)
				}
				r.Outbox.acknowledgeOnce(ctx(t))
				wantErr(t, r.Ack(ctx(t), r.at), waybill.ErrGap)
			}
		})
	}
}

// exchange puts a copy of the file in its place, as an editor or a restore would.
func exchange(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// TestCopiedFile: a copy goes its own way; a position of the original made later is a gap there.
func TestCopiedFile(t *testing.T) {
	a := newSource(t, testStream)
	a.emit("a", 1)
	r := a.opened("", 0)
	r.take(1)
	path := filepath.Join(t.TempDir(), "copy.db")
	a.exec("VACUUM INTO '" + path + "'")
	b := openApp(t, path, setWAL)
	b.opened(r.at, 1).close() // the same history so far
	a.emit("b", 2)
	b.emit("c", 2)
	r.take(1)
	err := NewOutbox(SourceOptions{Path: path, Stream: testStream}).Open(ctx(t), r.at)
	wantErr(t, err, waybill.ErrGap, "row 2 of waybill_outbox belongs to action c, and the target's position says action b")
}

// TestFlush: nothing is handed on before the log is on disk.
func TestFlush(t *testing.T) {
	a := newSource(t, testStream)
	r := a.reader(SourceOptions{})
	flushed := 0
	r.syncWAL = func(c *conn) error {
		flushed++
		return c.syncWAL()
	}
	r.open("", 0)
	for i := range 3 {
		a.emit(fmt.Sprint(i), i)
		before := flushed
		r.take(1)
		if flushed == before {
			t.Fatal("an action was handed on though the log was not flushed after it was read")
		}
	}
	a.emit("x", 1)
	r.syncWAL = func(*conn) error { return fmt.Errorf("sync: %w", syscall.EIO) }
	if ids, err := r.next(); !errors.Is(err, syscall.EIO) || len(ids) > 0 {
		t.Fatalf("handed on %v, %v", ids, err)
	}
	r.syncWAL = func(*conn) error { return fmt.Errorf("sync: %w", syscall.ENOSPC) }
	if _, err := r.next(); !waybill.Transient(err) {
		t.Fatalf("a full disk is not transient: %v", err)
	}
	r.syncWAL = (*conn).syncWAL
	if ids := r.take(1); ids[0] != "x" {
		t.Fatalf("read %v", ids)
	}
}

// TestAckThrottle: acknowledgements do not take the write lock each time, and Close writes
// the last one.
func TestAckThrottle(t *testing.T) {
	a := newSource(t, testStream)
	r := a.opened("", 0)
	for i := range 5 {
		a.emit(fmt.Sprint(i), i)
		r.take(1)
		r.ack()
	}
	waitFor(t, func() bool { return a.rows("SELECT seq FROM waybill_consumer") != "0" })
	if first := a.rows("SELECT seq FROM waybill_consumer"); first == "5" {
		t.Log("the machine was slow: all were acknowledged at once")
	}
	r.close()
	a.want("SELECT n, seq, action FROM waybill_consumer", "5|5|4")
	r.open(r.at, 5)
	if n := r.Suppressed(); n != 0 {
		t.Fatalf("%d suppressed", n)
	}
}

// TestAckBesideLock: a long transaction of the application neither fails nor delays reading.
func TestAckBesideLock(t *testing.T) {
	a := newSource(t, testStream)
	a.emit("a", 1)
	r := a.opened("", 0)
	r.take(1)
	tx := a.begin(t)
	r.ack() // put off
	waitFor(t, func() bool { return !r.lastTried().IsZero() })
	a.want("SELECT seq FROM waybill_consumer", "0")
	if _, err := r.Head(ctx(t)); err != nil {
		t.Fatal(err)
	}
	tx.Rollback(t)
	flushNow(t, r.Outbox)
	a.want("SELECT seq FROM waybill_consumer", "1")
}

// TestPurgeWholeActions: portions end with an action, however many rows it has.
func TestPurgeWholeActions(t *testing.T) {
	a := newSource(t, testStream, "p/slow")
	a.exec(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 4500)
INSERT INTO waybill_outbox (action, changes) SELECT 'action ' || (i / 1400), '[]' FROM c`)
	r := a.opened("", 0)
	r.drain()
	r.ack()
	flushNow(t, r.Outbox)
	a.want("SELECT count(*) FROM waybill_outbox", "4500")
	c, err := openConn(ctx(t), a.path, connOptions{busy: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	a.exec("DELETE FROM waybill_consumer WHERE stream = 'p/slow'")
	for _, left := range []string{"3101", "1701", "301", "0", "0"} {
		if _, err := purgeOnce(ctx(t), c); err != nil {
			t.Fatal(err)
		}
		a.want("SELECT count(*) FROM waybill_outbox", left)
	}
	a.exec("DELETE FROM waybill_consumer")
	a.emit("kept", 1)
	if n, err := purgeOnce(ctx(t), c); n != 0 || err != nil {
		t.Fatalf("removed %d rows though nobody is registered, %v", n, err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.db")
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := newApp(t)
	journal := openApp(t, filepath.Join(dir, "journal.db"), "CREATE TABLE t (a)")
	newer := newSource(t)
	newer.exec("UPDATE waybill_meta SET value = '2' WHERE key = 'outbox_format'")
	for path, want := range map[string]string{
		missing:      "SQLite database " + missing + " does not exist: correct the path, or create the database first (an empty file will do)",
		dir:          "SQLite database " + dir + " is a directory: name the file",
		text:         "the file is no SQLite database; correct the path",
		plain.path:   "SQLite database " + plain.path + " has no outbox: run waybill outbox install",
		journal.path: "SQLite database " + journal.path + " keeps a rollback journal (journal_mode=delete), an outbox needs write-ahead logging: run PRAGMA journal_mode=WAL; once",
		newer.path:   "the outbox in SQLite database " + newer.path + " has format 2, this version of waybill knows 1: upgrade waybill",
	} {
		err := NewOutbox(SourceOptions{Path: path, Stream: testStream}).Open(ctx(t), "")
		wantErr(t, err, nil, want)
		if waybill.Transient(err) {
			t.Errorf("%s: transient", path)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the missing file was created: %v", err)
	}
}

// TestAwkwardPath: names that mean something in a URI, and a symbolic link.
func TestAwkwardPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "50% off? #1 & more.db")
	seed := newSource(t, testStream)
	seed.exec("VACUUM INTO '" + file + "'")
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	c, err := openConn(ctx(t), file, connOptions{busy: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, s := range []string{setWAL, "INSERT INTO waybill_outbox (action, changes) VALUES ('a', '[]')"} {
		if err := c.script(ctx(t), s); err != nil {
			t.Fatal(err)
		}
	}
	o := NewOutbox(SourceOptions{Path: link, Stream: testStream})
	defer o.Close()
	if err := o.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	if b, err := o.Next(ctx(t)); err != nil || len(b.Actions) != 1 {
		t.Fatalf("%d actions, %v", len(b.Actions), err)
	}
	if _, err := os.Stat(file + "-wal"); err != nil {
		t.Fatal(err)
	}
}

func TestReachedAndBacklog(t *testing.T) {
	a := newSource(t, testStream)
	r := a.opened("", 0)
	for i := range 3 {
		a.exec("INSERT INTO waybill_outbox (action, at, changes) VALUES (?1, '2026-01-01T00:00:00Z', '[]'), (?1, '2026-01-01T00:00:00Z', '[]')", fmt.Sprint(i))
	}
	n, oldest, err := r.Backlog(ctx(t), "")
	if err != nil || n != 3 || oldest < time.Hour {
		t.Fatalf("%d actions waiting for %v, %v", n, oldest, err)
	}
	r.take(3)
	if n, oldest, err = r.Backlog(ctx(t), r.at); err != nil || n != 0 || oldest != 0 {
		t.Fatalf("%d actions waiting for %v, %v", n, oldest, err)
	}
	other := newSource(t, testStream).opened("", 0)
	head, _ := other.Head(ctx(t))
	if r.Reached(r.at, head) || r.Reached("", head) || !r.Reached("", "") || !r.Reached(r.at, "") || r.Reached("nonsense", head) {
		t.Fatal("Reached compares positions of different sources")
	}
}
