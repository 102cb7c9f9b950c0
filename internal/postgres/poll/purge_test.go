package poll

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
)

func (s *source) size(t testing.TB) int {
	t.Helper()
	return query[int](t, s, `select sum(pg_table_size(c))::int from unnest(array['waybill.outbox_0', 'waybill.outbox_1',
  'waybill.outbox_order_0', 'waybill.outbox_order_1']::regclass[]) c`)
}

// Acknowledged rows go while a transaction elsewhere holds the horizon back, which keeps
// deleted rows from being vacuumed.
func TestPurgeWithoutBloat(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	old := s.session(t)
	old.exec(`create table elsewhere (i int)`)
	old.exec(`begin isolation level repeatable read; insert into elsewhere values (1)`)
	var at waybill.Position
	first, largest := 0, 0
	for range 8 {
		s.emitMany(t, 1000)
		if first == 0 {
			first = s.size(t)
		}
		var n int
		if at, n = drainN(t, o, at); n != 1000 {
			t.Fatalf("%d actions", n)
		}
		ack(t, o, at)
		for range 2 {
			if _, err := o.purgeNow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		largest = max(largest, s.size(t))
	}
	if first == 0 || largest > 3*first {
		t.Fatalf("the outbox took %d bytes at most, %d after the first 1,000 of 8,000 actions", largest, first)
	}
	if n := query[int](t, s, `select count(*) from waybill.outbox_order`); n > 2000 {
		t.Fatalf("%d of 8,000 acknowledged actions are still there", n)
	}
}

// Purging while writers write: nobody waits for long, and nothing that a consumer still needs
// goes, though consumers drop back and one is always behind.
func TestPurgeBesideWriters(t *testing.T) {
	s := newSource(t)
	s.install(t, "slow")
	fast, slow := s.reader(t, testStream), s.reader(t, "slow")
	fast.side.purgeEvery, slow.side.purgeEvery = 10*time.Millisecond, 10*time.Millisecond
	fast.side.flipBytes, slow.side.flipBytes = 0, 0
	pgtest.Open(t, fast, "")
	pgtest.Open(t, slow, "")

	const writers, each = 4, 250
	var (
		work    sync.WaitGroup
		mu      sync.Mutex
		slowest time.Duration
	)
	for w := range writers {
		x := s.session(t)
		work.Go(func() {
			for i := range each {
				level := "read committed"
				if i%5 == 0 {
					level = "repeatable read" // may still see the half that was current before
				}
				began := time.Now()
				_, err := x.conn.Exec(t.Context(), fmt.Sprintf(`begin isolation level %s; select count(*) from waybill.consumer;
select pg_sleep(%f); select waybill.emit('x', '%s'); commit`, level, float64(i%7)/2000, upsert(w, i)))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				slowest = max(slowest, time.Since(began))
				mu.Unlock()
			}
		})
	}
	var readers sync.WaitGroup
	readers.Go(func() { readInOrder(t, fast, writers*each, 0) })
	readers.Go(func() { readInOrder(t, slow, writers*each, 20) })
	work.Wait()
	readers.Wait()
	left := query[int](t, s, `select count(*) from waybill.outbox_order`)
	t.Logf("slowest transaction: %v; %d of %d actions not purged", slowest, left, writers*each)
	if left == writers*each {
		t.Error("nothing was purged: the test shows nothing")
	}
	if slowest > 5*time.Second {
		t.Fatalf("a writer took %v", slowest)
	}
}

// readInOrder reads n actions, acknowledging each batch when lag further ones were read, and
// fails unless every entity counts up from 0.
func readInOrder(t *testing.T, o *Reader, n, lag int) {
	next := map[string]int{}
	held := make([]waybill.Position, lag)
	for n > 0 {
		b, err := o.Next(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		n -= len(b.Actions)
		for i := range b.Actions {
			for c := range b.Actions[i].Changes.All() {
				id, _ := c.Key.Get("id")
				v, _ := c.Row.Get("n")
				if want := fmt.Sprint(next[id.String()]); v.String() != want {
					t.Errorf("writer %s: change %s handed on where %s was due", id, v, want)
				}
				next[id.String()]++
			}
		}
		held = append(held, b.Upto)
		if held[0] != "" {
			if err := o.Ack(t.Context(), held[0]); err != nil {
				t.Error(err)
			}
		}
		held = held[1:]
	}
}

// A half that is in use elsewhere is left alone, without making anybody wait.
func TestPurgeGivesWay(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	held := s.session(t)
	held.exec(`begin`)
	late := held.emit(1, 1)
	s.emitMany(t, 10)
	_, at := pgtest.Drain(t, o, "")
	ack(t, o, at)
	for i, want := range []string{"flipped", "busy", "busy"} {
		if did, err := o.purgeNow(t.Context()); err != nil || did != want {
			t.Fatalf("purge %d: %s, %v; want %s", i+1, did, err, want)
		}
	}
	held.exec(`commit`)
	if did, err := o.purgeNow(t.Context()); err != nil || did != "waiting" {
		t.Fatalf("purge of what is not acknowledged: %s, %v", did, err)
	}
	have, at := pgtest.Drain(t, o, at)
	wantActions(t, have, late)
	ack(t, o, at)
	if did, err := o.purgeNow(t.Context()); err != nil || did != "purged" {
		t.Fatalf("purge: %s, %v", did, err)
	}
	if n := query[int](t, s, `select count(*) from waybill.outbox`); n != 0 {
		t.Fatalf("%d rows are left", n)
	}
}

// A transaction of REPEATABLE READ goes on writing to the half that was current in its
// snapshot, after that half was emptied and became current again.
func TestPurgeAndOldSnapshots(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	old := s.session(t)
	old.exec(`begin isolation level repeatable read; select 1 from waybill.consumer`)
	at := waybill.Position("")
	for range 3 {
		s.emitMany(t, 5)
		at, _ = drainN(t, o, at)
		ack(t, o, at)
		s.purge(t)
	}
	first := old.emit(1, 1)
	s.purge(t)
	second := s.session(t).emit(2, 2)
	old.emit(1, 2)
	have, at := pgtest.Drain(t, o, at)
	wantActions(t, have, second)
	ack(t, o, at)
	s.purge(t)
	old.exec(`commit`)
	s.purge(t)
	have, _ = pgtest.Drain(t, o, at)
	wantActions(t, have, first)
	if got := contents(t, &have[0]); got != "1:1 1:2" {
		t.Fatalf("handed on %s", got)
	}
}

// What not every consumer has stays; without consumers nothing goes.
func TestPurgeKeeps(t *testing.T) {
	s := newSource(t)
	s.install(t, "slow")
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	s.emitMany(t, 20)
	_, at := pgtest.Drain(t, o, "")
	ack(t, o, at)
	for range 4 {
		if did, err := o.purgeNow(t.Context()); err != nil || did == "purged" {
			t.Fatalf("purge: %s, %v", did, err)
		}
	}
	if n := query[int](t, s, `select count(*) from waybill.outbox`); n != 20 {
		t.Fatalf("%d of 20 rows are left, one consumer has none of them", n)
	}
	_ = o.Close()
	for _, stream := range []string{"slow", testStream} {
		if err := o.Drop(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	if did := query[string](t, s, `select waybill.outbox_purge(0, '0')`); did != "no consumers" {
		t.Fatalf("purge: %s", did)
	}
}

// A consumer that is dropped while it is read may have lost rows: the reader stops.
func TestDroppedWhileRead(t *testing.T) {
	for name, sql := range map[string]string{
		"dropped":                `delete from waybill.consumer`,
		"dropped and registered": `delete from waybill.consumer; insert into waybill.consumer (name) values ('` + testStream + `')`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			o := s.reader(t, testStream)
			pgtest.Open(t, o, "")
			s.emitMany(t, 2)
			at, _ := drainN(t, o, "")
			s.session(t).exec(sql)
			if _, err := o.Next(t.Context()); !isGap(err) {
				t.Fatalf("Next: %v, want a gap", err)
			}
			if err := o.Ack(t.Context(), at); !isGap(err) {
				t.Fatalf("Ack: %v, want a gap", err)
			}
		})
	}
}
