package sqlite

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
)

// TestDeliveryAgainstModel carries random actions from one file to another, with everything
// that may come between: rollbacks, acknowledgements that are not sent, engines that stop
// without a word, batches that are repeated. The target is compared with a model that knows
// only what was committed at the source.
func TestDeliveryAgainstModel(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := newCourse(t, filepath.Join(dir, fmt.Sprint(n)))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"emit":   m.emit,
			"carry":  func(rt *rapid.T) { m.carry(rt, true) },
			"no ack": func(rt *rapid.T) { m.carry(rt, false) },
			"repeat": m.repeat,
			"crash":  func(*rapid.T) { m.restart(false) },
			"stop":   func(*rapid.T) { m.restart(true) },
			"":       m.compare,
		})
		m.finish(rt)
	})
}

// course is one run of the model.
type course struct {
	t              *testing.T
	source, target *app
	r              *reader
	w              *Writer
	last           waybill.Batch // what was written last
	model          []map[string]string
	applied        int // actions at the target
	dead           []*Writer
}

func newCourse(t *testing.T, name string) *course {
	m := &course{t: t, model: []map[string]string{{}}}
	m.source = openApp(t, name+"-source.db", setWAL)
	if err := NewOutbox(SourceOptions{Path: m.source.path}).Install(ctx(t), testStream); err != nil {
		t.Fatal(err)
	}
	m.target = openApp(t, name+"-target.db", setWAL, "CREATE TABLE item (k text PRIMARY KEY, v text)", "CREATE TABLE applied (n integer PRIMARY KEY)")
	m.restart(true)
	return m
}

func (m *course) close() {
	_ = m.r.Close()
	for _, w := range append(m.dead, m.w) {
		_ = w.Close()
	}
	_ = m.source.Close()
	_ = m.target.Close()
}

// emit commits or rolls back a transaction with one or two actions.
func (m *course) emit(rt *rapid.T) {
	tx := m.source.begin(m.t)
	var states []map[string]string
	state := m.model[len(m.model)-1]
	for range rapid.IntRange(1, 2).Draw(rt, "actions") {
		next := maps.Clone(state)
		number := len(m.model) + len(states)
		tx.id = fmt.Sprintf("action-%d", number)
		tx.Emit(m.t, insert("applied", fmt.Sprintf(`{"n":%d}`, number), "{}"))
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			tx.Emit(m.t, randomItem(rt, next))
		}
		states, state = append(states, next), next
	}
	if rapid.IntRange(0, 3).Draw(rt, "fate") == 0 {
		tx.Rollback(m.t)
		return
	}
	tx.Commit(m.t)
	m.model = append(m.model, states...)
}

// randomItem draws a change that is valid in the state, and makes it there.
func randomItem(rt *rapid.T, state map[string]string) waybill.Change {
	k, v := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key"), fmt.Sprint(rapid.IntRange(0, 99).Draw(rt, "value"))
	key, row := fmt.Sprintf(`{"k":%q}`, k), fmt.Sprintf(`{"v":%q}`, v)
	_, exists := state[k]
	op := rapid.SampledFrom([]waybill.Op{waybill.Insert, waybill.Update, waybill.Upsert, waybill.Delete}).Draw(rt, "op")
	switch {
	case op == waybill.Delete:
		delete(state, k)
		return remove("item", key)
	case op == waybill.Insert && !exists:
		state[k] = v
		return insert("item", key, row)
	case op == waybill.Update && exists:
		state[k] = v
		return update("item", key, row)
	}
	state[k] = v
	return upsert("item", key, row)
}

// carry moves one batch.
func (m *course) carry(rt *rapid.T, ack bool) {
	if _, err := m.r.Head(ctx(m.t)); err != nil {
		rt.Fatal(err)
	}
	b, err := m.r.Next(ctx(m.t))
	if err != nil {
		rt.Fatal(err)
	}
	if err := m.w.Write(ctx(m.t), b); err != nil {
		rt.Fatal(err)
	}
	m.last = b
	m.applied += len(b.Actions)
	if ack {
		if err := m.r.Ack(ctx(m.t), b.Upto); err != nil {
			rt.Fatal(err)
		}
	}
}

// repeat writes the last batch again, by this engine and by one that was overtaken.
func (m *course) repeat(rt *rapid.T) {
	if len(m.last.Actions) == 0 {
		return
	}
	if err := m.w.Write(ctx(m.t), m.last); !errors.Is(err, waybill.ErrGap) {
		rt.Fatalf("a batch written twice: %v", err)
	}
	for _, w := range m.dead {
		if err := w.Write(ctx(m.t), m.last); !errors.Is(err, waybill.ErrGap) && !errors.Is(err, waybill.ErrFenced) {
			rt.Fatalf("a batch of an engine that was overtaken: %v", err)
		}
	}
}

// restart replaces the engine; a crashed one stays around as a zombie.
func (m *course) restart(clean bool) {
	if m.w != nil {
		if clean {
			_ = m.w.Close()
			_ = m.r.Close()
		} else {
			m.w.stopRenewing()
			m.dead = append(m.dead, m.w)
			m.r.mu.Lock()
			m.r.pending = point{} // without the last acknowledgement
			m.r.mu.Unlock()
			_ = m.r.Close()
		}
	}
	m.w = NewWriter(TargetOptions{Path: m.target.path, Owner: "me"})
	at, err := m.w.Resume(ctx(m.t), testStream)
	if err != nil {
		m.t.Fatal(err)
	}
	m.r = m.source.reader(SourceOptions{MaxActions: 2})
	m.r.open(at, uint64(m.applied))
}

// compare looks at the target with plain SQL.
func (m *course) compare(rt *rapid.T) {
	var want []string
	for k, v := range m.model[m.applied] {
		want = append(want, k+"|"+v)
	}
	slices.Sort(want)
	if have := m.target.rows("SELECT k, v FROM item ORDER BY k"); have != strings.Join(want, "\n") {
		rt.Fatalf("after %d actions: have %q, want %q", m.applied, have, want)
	}
	if have := m.target.rows("SELECT count(*), coalesce(max(n), 0) FROM applied"); have != fmt.Sprintf("%d|%[1]d", m.applied) {
		rt.Fatalf("applied %s, want %d", have, m.applied)
	}
}

func (m *course) finish(rt *rapid.T) {
	for m.applied < len(m.model)-1 {
		m.carry(rt, true)
	}
	m.compare(rt)
}

// TestSameFile: source and target in one database, as between two modules of one application.
func TestSameFile(t *testing.T) {
	a := newSource(t, testStream)
	a.exec("CREATE TABLE customer (id integer PRIMARY KEY, name text)")
	x := a.writer(TargetOptions{})
	r := a.reader(SourceOptions{MaxActions: 3})
	r.open("", 0)
	for i := range 10 {
		a.emit(fmt.Sprint(i), i)
	}
	head, err := r.Head(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	for !r.Reached(r.at, head) {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Write(ctx(t), b); err != nil {
			t.Fatal(err)
		}
		r.at, r.seq = b.Upto, b.LastSeq(r.seq)
		r.ack()
	}
	flushNow(t, r.Outbox)
	a.want("SELECT count(*), max(id), (SELECT count(*) FROM waybill_outbox), (SELECT seq FROM waybill_position) FROM customer", "10|9|0|10")
}
