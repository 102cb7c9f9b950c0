package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// session is one connection that runs SQL for a test.
type session struct {
	t    testing.TB
	conn *pgx.Conn
}

func (s *source) session(t testing.TB) *session {
	t.Helper()
	return &session{t, pgtest.Connect(t, s.url)}
}

func (x *session) exec(sql string, args ...any) {
	x.t.Helper()
	if _, err := x.conn.Exec(x.t.Context(), sql, args...); err != nil {
		x.t.Fatalf("%s: %v", sql, err)
	}
}

// emit emits an upsert of customer id whose row holds n, and returns the action's ID.
func (x *session) emit(id, n int) (action string) {
	x.t.Helper()
	if err := x.conn.QueryRow(x.t.Context(), `select waybill.emit($1, $2)::text`, "saved", upsert(id, n)).Scan(&action); err != nil {
		x.t.Fatal(err)
	}
	return action
}

func upsert(id, n int) string {
	return fmt.Sprintf(`[{"entity":"customer","op":"upsert","key":{"id":%d},"row":{"n":%d}}]`, id, n)
}

func ids(actions []waybill.Action) []string {
	out := make([]string, len(actions))
	for i := range actions {
		out[i] = actions[i].ID
	}
	return out
}

func wantActions(t testing.TB, have []waybill.Action, want ...string) {
	t.Helper()
	if !slices.Equal(ids(have), want) {
		t.Fatalf("handed on %v, want %v", ids(have), want)
	}
}

// contents renders the changes of an action as id:n.
func contents(t testing.TB, a *waybill.Action) string {
	t.Helper()
	var parts []string
	for c, err := range a.Changes.All() {
		if err != nil {
			t.Fatal(err)
		}
		id, _ := c.Key.Get("id")
		n, _ := c.Row.Get("n")
		parts = append(parts, id.String()+":"+n.String())
	}
	return strings.Join(parts, " ")
}

// T1 takes the lower transaction number, T2 updates A and commits, T1 then waits for A's
// lock and updates it too. By number T1 would come first and A would end with T2's value.
func TestOrderFollowsDependency(t *testing.T) {
	s := newSource(t)
	s.session(t).exec(`create table customer (id int primary key, n int); insert into customer values (1, 0), (2, 0)`)
	one, two := s.session(t), s.session(t)
	one.exec(`begin; update customer set n = 1 where id = 2`)
	first := one.emit(2, 1)
	two.exec(`begin; update customer set n = 2 where id = 1`)
	second := two.emit(1, 2)
	waiting := make(chan error, 1)
	go func() {
		_, err := one.conn.Exec(context.WithoutCancel(t.Context()), `update customer set n = 3 where id = 1`)
		waiting <- err
	}()
	awaitLock(t, s)
	two.exec(`commit`)
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	one.emit(1, 3)
	one.exec(`commit`)

	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	have, _ := pgtest.Drain(t, o, "")
	wantActions(t, have, second, first)
	if got := contents(t, &have[1]); got != "2:1 1:3" {
		t.Fatalf("the later action holds %s", got)
	}
}

// awaitLock waits until some session waits for a lock.
func awaitLock(t testing.TB, s *source) {
	t.Helper()
	eventually(t, "a session waits for a lock", func() bool {
		return query[int](t, s, `select count(*) from pg_locks where not granted`) > 0
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// SET CONSTRAINTS draws a transaction's place early. Later calls of emit draw again, so that
// the order holds as long as the application emits after its last change; beyond that it
// cannot be helped, as doc.go says.
func TestConstraintsImmediate(t *testing.T) {
	s := newSource(t)
	one, two := s.session(t), s.session(t)
	one.exec(`begin; set constraints all immediate`)
	first := one.emit(1, 1)
	second := two.emit(2, 2)
	one.emit(1, 3)
	one.exec(`commit`)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	have, at := pgtest.Drain(t, o, "")
	wantActions(t, have, second, first)

	one.exec(`begin; set constraints all immediate`)
	first = one.emit(1, 1)
	second = two.emit(2, 2)
	one.exec(`commit`) // changes between emit and commit would not count
	have, _ = pgtest.Drain(t, o, at)
	wantActions(t, have, first, second)
}

func TestSavepoints(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"rolled back after the first":   {"emit 1; savepoint a; emit 2; rollback to a; emit 3", "1:0 3:0"},
		"first rolled back":             {"savepoint a; emit 1; rollback to a; emit 2; emit 3", "2:0 3:0"},
		"first two rolled back":         {"savepoint a; emit 1; emit 2; rollback to a; emit 3", "3:0"},
		"released":                      {"savepoint a; emit 1; release a; savepoint a; emit 2; release a; emit 3", "1:0 2:0 3:0"},
		"nested":                        {"emit 1; savepoint a; emit 2; savepoint b; emit 3; rollback to b; emit 4; release a", "1:0 2:0 4:0"},
		"released, then rolled back":    {"savepoint a; savepoint b; emit 1; release b; rollback to a; emit 2", "2:0"},
		"everything rolled back to":     {"savepoint a; emit 1; rollback to a", ""},
		"constraints immediate, undone": {"savepoint a; emit 1; set constraints all immediate; rollback to a; emit 2", "2:0"},
		"settings reset in between":     {"emit 1; reset all; emit 2; emit 3", "1:0 2:0 3:0"},
		"as replica":                    {"set session_replication_role = replica; emit 1; set session_replication_role = origin", "1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t)
			x := s.session(t)
			x.exec("begin")
			for step := range strings.SplitSeq(c.script, "; ") {
				var id int
				if n, _ := fmt.Sscanf(step, "emit %d", &id); n == 1 {
					x.emit(id, 0)
				} else {
					x.exec(step)
				}
			}
			x.exec("commit")
			o := s.reader(t, testStream)
			pgtest.Open(t, o, "")
			have, _ := pgtest.Drain(t, o, "")
			got := ""
			if len(have) > 1 {
				t.Fatalf("%d actions of one transaction", len(have))
			}
			if len(have) == 1 {
				got = contents(t, &have[0])
			}
			if got != c.want {
				t.Fatalf("handed on %q, want %q", got, c.want)
			}
		})
	}
}

// A transaction whose calls fell into both halves, because a RESET ALL made the second forget
// the first, is still one action, handed on once.
func TestResetBetweenHalves(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	x.exec(`begin`)
	first := x.emit(1, 1)
	query[string](t, s, `select waybill.emit('other', '[]')::text`) // the half is not empty
	if did := query[string](t, s, `select waybill.outbox_purge(0, '0')`); did != "flipped" {
		t.Fatalf("purge: %s", did)
	}
	x.exec(`reset all`)
	x.emit(2, 2)
	between := s.session(t).emit(3, 3)
	x.exec(`commit`)
	if n := query[int](t, s, `select count(*) - count(distinct xid) from waybill.outbox_order`); n != 1 {
		t.Fatalf("%d transactions stand in both halves, want 1", n)
	}
	for _, maxActions := range []int{1000, 1} {
		s.maxActions = maxActions
		o := s.reader(t, testStream)
		pgtest.Open(t, o, "")
		have, _ := pgtest.Drain(t, o, "")
		if len(have) != 3 || have[1].ID != between || have[2].ID != first || contents(t, &have[2]) != "1:1 2:2" {
			t.Fatalf("handed on %v", ids(have))
		}
		_ = o.Close()
	}
}

// The name and the trace given last count, the time is that of the first call.
func TestNameTraceTime(t *testing.T) {
	s := newSource(t)
	x := s.session(t)
	x.exec(`begin`)
	before := query[time.Time](t, s, `select clock_timestamp()`)
	x.exec(`select waybill.emit('one', '[]', 'trace-1'), waybill.emit('two', '[]'), waybill.emit(null, '[]', 'trace-3')`)
	after := query[time.Time](t, s, `select clock_timestamp()`)
	x.exec(`commit`)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	have, _ := pgtest.Drain(t, o, "")
	if len(have) != 1 {
		t.Fatalf("%d actions", len(have))
	}
	a := have[0]
	if a.Name != "two" || a.Trace != "trace-3" || a.Time.Before(before) || a.Time.After(after) || a.Time.Location() != time.UTC || a.Changes.Len() != 0 {
		t.Fatalf("handed on %+v", a)
	}
}

// A large window is paged through; a reader that is opened anywhere in it goes on there.
func TestLargeWindow(t *testing.T) {
	s := newSource(t)
	s.maxActions = 7
	const n = 3 * fetchSize / 2
	s.emitMany(t, n)
	held := s.session(t)
	held.exec(`begin`)
	held.emit(1, 1)
	s.emitMany(t, 10)

	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	all, end := pgtest.Drain(t, o, "")
	if len(all) != n+10 {
		t.Fatalf("%d actions, want %d", len(all), n+10)
	}
	held.exec(`commit`)
	late, _ := pgtest.Drain(t, o, end)
	if len(late) != 1 {
		t.Fatalf("%d actions after the held transaction committed, want it alone", len(late))
	}
	want := ids(append(all, late...))
	_ = o.Close()

	var at waybill.Position
	var have []string
	rng := rand.New(rand.NewPCG(1, 2))
	for len(have) < len(want) {
		o := s.reader(t, testStream)
		pgtest.Open(t, o, at)
		for i := 1 + rng.IntN(60); i > 0 && len(have) < len(want); i-- {
			b, err := o.Next(t.Context())
			if err == nil {
				err = b.CheckDense("large", uint64(len(have)))
			}
			if err != nil {
				t.Fatal(err)
			}
			have, at = append(have, ids(b.Actions)...), b.Upto
		}
		_ = o.Close()
	}
	if !slices.Equal(have, want) {
		t.Fatal("what was handed on in pieces is not what was handed on at once")
	}
}

// Large actions that follow many small ones, which a page without sizes then meets, are not
// kept beyond the bound either.
func TestPageMeetsLargeActions(t *testing.T) {
	s := newSource(t)
	s.maxBytes = 64 << 10
	x := s.session(t)
	want := 0
	emit := func(n, size int) {
		x.exec(`do $$ begin for i in 1..` + fmt.Sprint(n) + ` loop
			perform waybill.emit('x', jsonb_build_array(jsonb_build_object('entity', 'customer', 'op', 'upsert', 'key', jsonb_build_object('id', i),
				'row', jsonb_build_object('body', repeat('x', ` + fmt.Sprint(size) + `)))));
			commit;
		end loop; end $$`)
		want += n
	}
	emit(200, 10)
	emit(60, 20_000)
	o := s.reader(t, testStream)
	o.opts.MaxActions = 100
	pgtest.Open(t, o, "")
	have, most, plain := 0, 0, false
	for have < want {
		b, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plain = plain || o.average > 0 && o.average*100 < s.maxBytes/2
		have += len(b.Actions)
		most = max(most, b.Size())
		kept := b.Size()
		for i := range o.ready {
			kept += o.ready[i].action.Size
		}
		if kept > 2*int(s.maxBytes) {
			t.Fatalf("%d bytes are kept, the bound is %d", kept, s.maxBytes)
		}
	}
	if !plain || most < 20_000 || have != want {
		t.Fatalf("pages without sizes: %v, largest batch %d bytes, %d actions of %d", plain, most, have, want)
	}
}

// Batches are bounded by size, whatever is waiting, and a large action travels alone.
func TestBatchBytes(t *testing.T) {
	s := newSource(t)
	s.maxBytes = 64 << 10
	x := s.session(t)
	rng := rand.New(rand.NewPCG(3, 4))
	var want []string
	for i := range 60 {
		size := 1 << (8 + rng.IntN(11)) // 256 B … 256 KiB
		body := make([]byte, size)
		for j := range body {
			body[j] = 'a' + byte(rng.IntN(26))
		}
		var id string
		row := fmt.Sprintf(`[{"entity":"customer","op":"upsert","key":{"id":%d},"row":{"n":%d,"body":"%s"}}]`, i, i, body)
		if err := x.conn.QueryRow(t.Context(), `select waybill.emit('x', $1)::text`, row).Scan(&id); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	var have []string
	for len(have) < len(want) {
		b, err := o.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Actions) > 1 && int64(b.Size()) > s.maxBytes {
			t.Fatalf("a batch of %d actions has %d bytes", len(b.Actions), b.Size())
		}
		have = append(have, ids(b.Actions)...)
	}
	if !slices.Equal(have, want) {
		t.Fatalf("handed on %v, want %v", have, want)
	}
}

// Many writers update shared rows in transactions that roll back, wait for each other, use
// savepoints and are held; the reader is closed and opened all the while. Judged by the
// database itself: per row the values handed on are those committed, in order.
func TestRandomWriters(t *testing.T) {
	const (
		writers = 6
		rows    = 5
		rounds  = 60
	)
	s := newSource(t)
	s.maxActions = 5
	s.session(t).exec(fmt.Sprintf(`create table customer (id int primary key, n int not null default 0, seen int[] not null default '{}');
insert into customer (id) select generate_series(1, %d)`, rows))

	stop := make(chan struct{})
	var readers, work sync.WaitGroup
	handed := map[int][]int{}
	seen := map[string]bool{}
	readers.Go(func() { s.readWithInterruptions(t, stop, handed, seen) })
	for w := range writers {
		x := s.session(t)
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for range rounds {
				if err := randomTransaction(t.Context(), x.conn, rng, rows); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	close(stop)
	readers.Wait()

	for id := 1; id <= rows; id++ {
		want := query[[]int](t, s, `select seen from customer where id = $1`, id)
		if !slices.Equal(handed[id], want) {
			t.Errorf("row %d: handed on %v\ncommitted %v", id, handed[id], want)
		}
	}
}

// randomTransaction appends to the history of one to three rows. The rows are touched in any
// order, so that transactions wait for each other and at times deadlock.
func randomTransaction(ctx context.Context, conn *pgx.Conn, rng *rand.Rand, rows int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	touch := func() error {
		id := 1 + rng.IntN(rows)
		_, err := tx.Exec(ctx, `with u as (update customer set n = n + 1, seen = seen || (n + 1) where id = $1 returning id, n)
select waybill.emit('saved', jsonb_build_array(jsonb_build_object('entity', 'customer', 'op', 'upsert',
  'key', jsonb_build_object('id', id), 'row', jsonb_build_object('n', n)))) from u`, id)
		return err
	}
	for range 1 + rng.IntN(3) {
		switch rng.IntN(6) {
		case 0:
			_, err = tx.Exec(ctx, `savepoint s`)
			if err == nil {
				err = touch()
			}
			if err == nil {
				_, err = tx.Exec(ctx, `rollback to s`)
			}
		case 1:
			_, err = tx.Exec(ctx, `select pg_sleep(0.003)`)
		default:
			err = touch()
		}
		if err != nil {
			if server.Code(err) == "40P01" {
				return nil // deadlock: nothing of it is there
			}
			return err
		}
	}
	if rng.IntN(5) == 0 {
		return nil // rolled back
	}
	return tx.Commit(ctx)
}

func (s *source) readWithInterruptions(t *testing.T, stop <-chan struct{}, handed map[int][]int, seen map[string]bool) {
	var (
		at  waybill.Position
		seq uint64
		rng = rand.New(rand.NewPCG(9, 9))
	)
	last := false
	for !last {
		select {
		case <-stop:
			last = true
		default:
		}
		o := s.reader(t, testStream)
		if err := o.Open(t.Context(), at); err != nil {
			t.Error(err)
			return
		}
		head, err := o.Head(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		for i := rng.IntN(10); (i > 0 || last) && !o.Reached(at, head); i-- {
			b, err := o.Next(t.Context())
			if err == nil {
				err = b.CheckDense("random", seq)
			}
			if err != nil {
				t.Error(err)
				return
			}
			at, seq = b.Upto, b.LastSeq(seq)
			for j := range b.Actions {
				a := &b.Actions[j]
				if seen[a.ID] {
					t.Errorf("action %s was handed on twice", a.ID)
				}
				seen[a.ID] = true
				for c := range a.Changes.All() {
					var id, n int
					kv, _ := c.Key.Get("id")
					rv, _ := c.Row.Get("n")
					if err := errors.Join(json.Unmarshal(kv.Raw, &id), json.Unmarshal(rv.Raw, &n)); err != nil {
						t.Error(err)
					}
					handed[id] = append(handed[id], n)
				}
			}
			if err := o.Ack(t.Context(), at); err != nil {
				t.Error(err)
			}
			if rng.IntN(4) == 0 {
				if _, err := o.purgeNow(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		_ = o.Close()
	}
}

func uint64Text(n uint64) string { return fmt.Sprint(n) }
