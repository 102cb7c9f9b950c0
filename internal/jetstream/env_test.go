package jetstream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// ctx is one that no test should outlive.
func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return c
}

// newQueue is a queue in a directory of its own, open until the test ends.
func newQueue(t testing.TB, o QueueOptions) *Queue {
	t.Helper()
	q := queueIn(t, t.TempDir(), o)
	hold(t, q)
	return q
}

func queueIn(t testing.TB, dir string, o QueueOptions) *Queue {
	t.Helper()
	if o.Stream == "" {
		o.Stream = "q"
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	return NewQueue(NewServer(ServerOptions{Dir: dir}), o)
}

// hold keeps the queue's server running; what it returns ends that before the test does.
func hold(t testing.TB, q *Queue) (release func()) {
	t.Helper()
	if err := q.server.Start(ctx(t)); err != nil {
		t.Fatal(err)
	}
	done := false
	release = func() {
		if !done {
			done = true
			if err := q.server.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(release)
	return release
}

// feed is a writer with what it wrote.
type feed struct {
	t   testing.TB
	w   *Writer
	pos waybill.Position
	seq uint64
}

func newFeed(t testing.TB, q *Queue, subject string) *feed {
	t.Helper()
	f := &feed{t: t, w: NewWriter(q, WriterOptions{Subject: subject})}
	t.Cleanup(func() { _ = f.w.Close() })
	f.resume()
	return f
}

func (f *feed) resume() {
	f.t.Helper()
	pos, err := f.w.Resume(ctx(f.t), f.w.Subject+"/embedded")
	if err != nil {
		f.t.Fatalf("Resume: %v", err)
	}
	f.pos, f.seq = pos, f.w.Seq()
}

// batch makes the next n actions, of one change each.
func (f *feed) batch(n int) waybill.Batch {
	var actions []waybill.Action
	for i := range n {
		actions = append(actions, f.action(int(f.seq)+i+1, conformance.Change(waybill.Upsert, "customer",
			fmt.Sprintf(`{"id":%d}`, i), `{"name":"Ann"}`)))
	}
	return f.of(actions...)
}

func (f *feed) action(n int, changes ...waybill.Change) waybill.Action {
	size := 0
	for i := range changes {
		size += changes[i].Size()
	}
	return waybill.Action{
		ID: fmt.Sprintf("%s-%s-%d", f.w.instance, f.w.Subject, n), Seq: uint64(n), Time: time.Now().UTC(),
		Changes: waybill.ChangeList(changes), Size: size,
	}
}

func (f *feed) of(actions ...waybill.Action) waybill.Batch {
	for i := range actions {
		actions[i].Seq = f.seq + uint64(i) + 1
	}
	at := func(i int) waybill.Position { return waybill.Position(fmt.Sprintf("1:%d", f.seq+uint64(i)+1)) }
	b := waybill.Batch{After: f.pos, Upto: f.pos, Actions: actions, At: at}
	if len(actions) > 0 {
		b.Upto = at(len(actions) - 1)
	}
	seq := f.seq // at must not move with the feed
	b.At = func(i int) waybill.Position { return waybill.Position(fmt.Sprintf("1:%d", seq+uint64(i)+1)) }
	return b
}

func (f *feed) write(b waybill.Batch) {
	f.t.Helper()
	if err := f.w.Write(ctx(f.t), b); err != nil {
		f.t.Fatalf("Write: %v", err)
	}
	f.pos, f.seq = b.Upto, b.LastSeq(f.seq)
}

// emit writes one action.
func (f *feed) emit(changes ...waybill.Change) string {
	f.t.Helper()
	b := f.of(f.action(int(f.seq)+1, changes...))
	f.write(b)
	return b.Actions[0].ID
}
