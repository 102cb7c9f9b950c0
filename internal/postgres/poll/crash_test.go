package poll

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

// clusterSource is an outbox in a server of its own, which a test may kill.
func clusterSource(t *testing.T, conf ...string) (*testenv.Cluster, *source) {
	t.Helper()
	c := testenv.NewCluster(t, conf...)
	s := &source{url: c.URL("postgres")}
	s.install(t, testStream)
	return c, s
}

func retained(t testing.TB, s *source, id string) bool {
	t.Helper()
	return query[bool](t, s, `select exists (select from waybill.outbox where id = $1::text::uuid)`, id)
}

// With synchronous_commit off a transaction can be seen before it is on disk; a reader that
// handed it on then would have applied at the target what the source forgets in a crash.
func TestCrashForgetsNothingHandedOn(t *testing.T) {
	c, s := clusterSource(t, "wal_writer_delay=10000", "synchronous_commit=off")
	o := s.reader(t, testStream)
	var at waybill.Position
	for round := range 3 {
		pgtest.Open(t, o, at)
		x := s.session(t)
		var last []waybill.Action
		for i := range 5 {
			x.emit(i, round)
			last, at = pgtest.Drain(t, o, at)
		}
		if len(last) != 1 {
			t.Fatalf("%d actions", len(last))
		}
		x.emit(9, 9) // nobody reads it; it may be lost
		c.Kill(t)
		_ = o.Close()
		c.Start(t)
		if !retained(t, s, last[0].ID) {
			t.Fatalf("round %d: action %s was handed on and is gone after the crash", round, last[0].ID)
		}
		pgtest.Open(t, o, at)
		_, at = pgtest.Drain(t, o, at)
		_ = o.Close()
	}
}

// A transaction number that nothing on disk mentions is used again after a crash. A position
// that counted it as finished must not pass over its second bearer.
func TestCrashReusesTransactionNumbers(t *testing.T) {
	c, s := clusterSource(t, "wal_writer_delay=10000")
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	x := s.session(t)
	x.emit(1, 1)
	_, at := pgtest.Drain(t, o, "")
	for range 20 {
		x.exec(`begin`)
		x.exec(`select pg_current_xact_id()`)
		x.exec(`rollback`)
	}
	high := query[uint64](t, s, `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`)
	at = empty(t, o, at)
	ack(t, o, at)
	c.Kill(t)
	_ = o.Close()
	c.Start(t)
	if now := query[uint64](t, s, `select pg_snapshot_xmax(pg_current_snapshot())::text::bigint`); now >= high {
		t.Fatalf("the server went on at %d, past %d: the test shows nothing", now, high)
	}
	want := s.session(t).emit(2, 2)
	pgtest.Open(t, o, at)
	have, _ := pgtest.Drain(t, o, at)
	wantActions(t, have, want)
}

// empty asks for the head, which makes Next return a batch though there is no action.
func empty(t testing.TB, o *Reader, at waybill.Position) waybill.Position {
	t.Helper()
	if _, err := o.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := o.Next(t.Context())
	if err != nil || b.After != at || len(b.Actions) > 0 {
		t.Fatalf("Next gave %d actions after %q: %v", len(b.Actions), b.After, err)
	}
	return b.Upto
}

// The server stops and comes back: errors are transient, and nothing is missed.
func TestServerRestart(t *testing.T) {
	c, s := clusterSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	first := s.session(t).emit(1, 1)
	have, at := pgtest.Drain(t, o, "")
	wantActions(t, have, first)

	reading := make(chan error, 1)
	go func() {
		_, err := o.Next(t.Context())
		reading <- err
	}()
	c.Stop(t)
	if err := <-reading; !waybill.Transient(err) {
		t.Fatalf("Next while the server stops: %v, which is not transient", err)
	}
	_, err := o.Next(t.Context())
	if !waybill.Transient(err) {
		t.Fatalf("Next afterwards: %v, which is not transient", err)
	}
	if err := o.Open(t.Context(), at); !waybill.Transient(err) {
		t.Fatalf("Open while the server is down: %v, which is not transient", err)
	}
	if _, err := o.Head(t.Context()); !waybill.Transient(err) {
		t.Fatalf("Head while the server is down: %v, which is not transient", err)
	}
	c.Start(t)
	second := s.session(t).emit(2, 2)
	pgtest.Open(t, o, at)
	have, _ = pgtest.Drain(t, o, at)
	wantActions(t, have, second)
}

// copyDir copies a data directory, owners and all.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// A copy of the server's files is put back: the same server by name, with an older past.
func TestRestoredFromFiles(t *testing.T) {
	c, s := clusterSource(t)
	backup := c.Dir + ".backup"
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	s.session(t).emit(1, 1)
	_, before := pgtest.Drain(t, o, "")
	ack(t, o, before)
	_ = o.Close()
	c.Stop(t)
	copyDir(t, c.Dir, backup)
	c.Start(t)

	pgtest.Open(t, o, before)
	for i := range 3 {
		s.session(t).emit(2, i)
	}
	_, after := pgtest.Drain(t, o, before)
	ack(t, o, after)
	_ = o.Close()

	c.Stop(t)
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, c.Dir); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
	wantGap(t, o, after)
	for i := range 3 { // as many as were lost, so that the numbers fit
		s.session(t).emit(3, i)
	}
	wantGap(t, o, after)
	for i := range 30 {
		s.session(t).emit(4, i)
	}
	wantGap(t, o, after)
	pgtest.Open(t, o, before) // a target that was restored along with it goes on
	have, _ := pgtest.Drain(t, o, before)
	if len(have) != 33 {
		t.Fatalf("%d actions after the restored position, want 33", len(have))
	}
}

func ack(t testing.TB, o *Reader, at waybill.Position) {
	t.Helper()
	if err := o.Ack(t.Context(), at); err != nil {
		t.Fatal(err)
	}
}

// A promoted copy is on a higher timeline. Where it has everything that was handed on the
// stream goes on; where it lacks an action, even one not the last, it is a gap.
func TestFailover(t *testing.T) {
	c, s := clusterSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	s.session(t).emit(1, 1)
	_, first := pgtest.Drain(t, o, "")
	_ = o.Close()
	c.Stop(t)
	// A base backup taken now and promoted later is what an asynchronous standby is that
	// received nothing since.
	if err := os.WriteFile(c.Dir+"/standby.signal", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
	if err := s.reader(t, testStream).Open(t.Context(), first); err == nil || waybill.Transient(err) {
		t.Fatalf("Open on a standby: %v", err)
	}
	testenv.Exec(t, s.url, `select pg_promote()`)
	pgtest.Open(t, o, first)
	want := s.session(t).emit(2, 2)
	have, second := pgtest.Drain(t, o, first)
	wantActions(t, have, want)
	_ = o.Close()
	p, err := decodePosition(second)
	if err != nil {
		t.Fatal(err)
	}
	if p.timeline < 2 {
		t.Fatalf("timeline %d after a promotion", p.timeline)
	}

	pgtest.Open(t, o, second)
	lost := s.session(t)
	lost.emit(3, 3)
	_, third := pgtest.Drain(t, o, second)
	_ = o.Close()
	p, _ = decodePosition(third)
	lost.exec(`set session_replication_role = replica`)
	lost.exec(`delete from waybill.outbox_order where xid = $1::text::xid8`, uint64Text(p.xid))
	wantGap(t, o, third)
	p.timeline++
	wantGap(t, o, p.encode())
}

// A prepared transaction is handed on when it is committed, across a crash.
func TestPreparedTransaction(t *testing.T) {
	c, s := clusterSource(t, "max_prepared_transactions=5")
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	x := s.session(t)
	x.exec(`begin`)
	first := x.emit(1, 1)
	x.exec(`prepare transaction 'a'`)
	second := x.emit(2, 2)
	have, at := pgtest.Drain(t, o, "")
	wantActions(t, have, second)
	ack(t, o, at)
	s.purge(t)
	_ = o.Close()
	c.Kill(t)
	c.Start(t)
	s.session(t).exec(`commit prepared 'a'`)
	s.purge(t)
	pgtest.Open(t, o, at)
	have, _ = pgtest.Drain(t, o, at)
	wantActions(t, have, first)
}

// The context of a Next ends while the server does not answer at all.
func TestNextEndsWithoutServer(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	s.session(t).exec(`begin; lock table waybill.outbox_order in access exclusive mode`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	for {
		_, err := o.Next(ctx)
		if err == nil {
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
			t.Fatalf("Next: %v after %v", err, time.Since(began))
		}
		return
	}
}
