package poll

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
)

// plan is what EXPLAIN tells.
type plan struct {
	Node    string  `json:"Node Type"`
	Name    string  `json:"Relation Name"`
	Hit     int     `json:"Shared Hit Blocks"`
	Read    int     `json:"Shared Read Blocks"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Plans   []plan  `json:"Plans"`
	Removed float64 `json:"Rows Removed by Filter"`
}

// explain runs a statement that the reader prepared, on the reader's own connection.
func explain(t testing.TB, o *Reader, statement, args string) plan {
	t.Helper()
	var text string
	err := o.conn.QueryRow(t.Context(), fmt.Sprintf("explain (analyze, buffers, timing off, format json) execute %s(%s)", statement, args)).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Plan plan }
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	return all[0].Plan
}

func (p *plan) walk(f func(*plan)) {
	f(p)
	for i := range p.Plans {
		p.Plans[i].walk(f)
	}
}

// wantIndexed fails if a table of the outbox is read otherwise than by index, or rows are
// read that are not wanted.
func wantIndexed(t testing.TB, p plan) {
	t.Helper()
	p.walk(func(n *plan) {
		if strings.HasPrefix(n.Name, "outbox") && !strings.HasPrefix(n.Node, "Index") {
			t.Errorf("%s of %s", n.Node, n.Name)
		}
		if n.Removed > 0 {
			t.Errorf("%s of %s removes %v rows by filter", n.Node, n.Name, n.Removed)
		}
	})
}

// pollCost is how many pages a poll looks at.
func pollCost(t testing.TB, o *Reader) int {
	t.Helper()
	p := explain(t, o, pollStatement, fmt.Sprintf("'%d', '%s', 1001, 4194304, '%s'", o.at.from.xmax, o.at.from.array(), testStream))
	wantIndexed(t, p)
	return p.Hit + p.Read
}

// A poll costs the same however much is retained, however long a transaction is held, and
// however many rolled back.
func TestPollCost(t *testing.T) {
	s := newSource(t)
	o := s.reader(t, testStream)
	held := s.session(t)
	held.exec(`begin`)
	late := held.emit(1, 1)
	pgtest.Open(t, o, "")
	s.emitMany(t, 100)
	_, at := pgtest.Drain(t, o, "")
	small := pollCost(t, o)

	s.emitMany(t, 15_000)
	x := s.session(t)
	x.exec(`do $$ begin for i in 1..500 loop perform waybill.emit('x', '[]'); rollback; end loop; end $$`)
	var n int
	at, n = drainN(t, o, at)
	if n != 15_000 {
		t.Fatalf("%d actions", n)
	}
	if !o.at.from.covers(snapshot{}) || len(o.at.from.xip) != 1 {
		t.Fatalf("running transactions at %s, want the held one", o.at.from)
	}
	large := pollCost(t, o)
	t.Logf("pages read by a poll: %d with 100 actions retained, %d with 15,000 and 500 rolled back", small, large)
	if large > small+12 { // indexes have grown a level or so
		t.Fatalf("a poll reads %d pages with 15,000 actions retained, %d with 100", large, small)
	}
	held.exec(`commit`)
	have, _ := pgtest.Drain(t, o, at)
	wantActions(t, have, late)
}

func drainN(t testing.TB, o *Reader, at waybill.Position) (waybill.Position, int) {
	t.Helper()
	have, at := pgtest.Drain(t, o, at)
	return at, len(have)
}

// Reading a page takes as many index probes as it has transactions.
func TestPageCost(t *testing.T) {
	s := newSource(t)
	s.emitMany(t, 5000)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	args := query[string](t, s, `select format('''{%s}'', ''{%s}''', string_agg(xid::text, ','), string_agg(ord::text, ','))
from (select xid, ord from waybill.outbox_order order by ord offset 2000 limit 100) x`)
	for statement, args := range map[string]string{rowsStatement: args + ", 4194304", plainStatement: args} {
		p := explain(t, o, statement, args)
		wantIndexed(t, p)
		if pages := p.Hit + p.Read; p.Rows != 100 || pages > 100*8 {
			t.Fatalf("%s: %v rows for 100 actions, %d pages", statement, p.Rows, pages)
		}
	}
}

// No snapshot is held while a large window is handed on: vacuum elsewhere is not held up.
func TestHoldsNoSnapshot(t *testing.T) {
	s := newSource(t)
	s.maxActions = 10
	s.emitMany(t, 100)
	o := s.reader(t, testStream)
	pgtest.Open(t, o, "")
	for range 3 {
		if _, err := o.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		pid := o.conn.PgConn().PID()
		held := query[bool](t, s, `select backend_xmin is not null or state <> 'idle' from pg_stat_activity where pid = $1`, pid)
		if held {
			t.Fatal("the reader's session holds a snapshot or a transaction between two batches")
		}
	}
}
