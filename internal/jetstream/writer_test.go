package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
	"github.com/waybill-data/waybill/internal/envelope/event"
)

// TestOneMessageAnAction: what an ordinary client finds in the queue.
func TestOneMessageAnAction(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "orders")
	f.write(f.batch(fewActions + 1))
	f.write(f.batch(fewActions)) // one by one: each moves the position
	f.emit(conformance.Change(waybill.Upsert, "customer", `{"id":1}`, `{"name":"Ann"}`))
	for n := uint64(1); n <= 2*fewActions+2; n++ {
		m, err := f.w.p.s.message(ctx(t), n)
		if err != nil || m == nil {
			t.Fatalf("message %d: %v", n, err)
		}
		if have := m.hdr.Get(hdrContentType); have != event.ContentType {
			t.Errorf("message %d has content type %q", n, have)
		}
		ev, err := event.NewDecoder(nil).Decode(m.data)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq != n || ev.Source != "/waybill/orders" || (ev.Position != "") != (n > fewActions) {
			t.Errorf("message %d is %+v", n, ev)
		}
	}
}

// unanswered makes the writer deaf to the answer to its next write.
func unanswered(t *testing.T, f *feed) {
	t.Helper()
	f.w.p.within = 200 * time.Millisecond
	if err := f.w.p.sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
}

// TestHungWrite: a write that is never answered ends, and what became of it is read back.
func TestHungWrite(t *testing.T) {
	for _, n := range []int{1, 50} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var log bytes.Buffer
			q := newQueue(t, QueueOptions{})
			f := newFeed(t, q, "orders")
			f.w.Log = slog.New(slog.NewTextHandler(&log, nil))
			f.emit()
			unanswered(t, f)
			f.write(f.batch(n)) // it was taken; only the answer was lost
			if !strings.Contains(log.String(), "a write without answer had succeeded") {
				t.Errorf("the log does not say that the write was found: %s", log.String())
			}
			f.write(f.batch(n))
			r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/t"})
			defer r.Close()
			if have := readAll(t, r); have != uint64(2*n+1) {
				t.Errorf("%d actions, want %d", have, 2*n+1)
			}
		})
	}
}

// TestLostWrite: a write that never reached the server is tried again.
func TestLostWrite(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "orders")
	f.emit()
	b := f.batch(5)
	whole := b.Actions[4].Changes
	b.Actions[4].Changes = breaking{whole, f.w.p.s.nc.Close}
	err := f.w.Write(ctx(t), b)
	b.Actions[4].Changes = whole
	if !waybill.Transient(err) || !strings.Contains(err.Error(), "nothing was written") {
		t.Fatalf("Write on a closed connection: %v", err)
	}
	f.write(b)
	r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/t"})
	defer r.Close()
	if have := readAll(t, r); have != 6 {
		t.Errorf("%d actions, want 6", have)
	}
}

// breaking calls then when its changes are read.
type breaking struct {
	waybill.Changes
	then func()
}

func (b breaking) All() iter.Seq2[*waybill.Change, error] {
	b.then()
	return b.Changes.All()
}

// TestIdleConnection: a connection that broke while nothing was written is no matter.
func TestIdleConnection(t *testing.T) {
	f := newFeed(t, newQueue(t, QueueOptions{}), "orders")
	for range 2 {
		f.emit()
		f.w.p.s.nc.Close()
		f.write(f.of())
	}
}

// readAll opens the reader at the beginning and returns the number of the last action there is.
func readAll(t testing.TB, r *Reader) (last uint64) {
	t.Helper()
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	head, err := r.Head(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	var at waybill.Position
	for !r.Reached(at, head) {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CheckDense("test", last); err != nil {
			t.Fatal(err)
		}
		at, last = b.Upto, b.LastSeq(last)
	}
	return last
}

// TestHeadAmidParts: the head of a subject that ends with half an action is where the action
// begins, so that whoever wants to catch up does not wait for it.
func TestHeadAmidParts(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	for _, before := range []int{0, 2} {
		f := newFeed(t, q, fmt.Sprintf("orders%d", before))
		if before > 0 {
			f.write(f.batch(before))
		}
		part := event.Event{Kind: event.Part, Source: f.w.source(), ID: "a", Seq: f.seq + 1, Attempt: "x.1", Part: 1, Position: "1:0"}
		data, err := new(event.Encoder).AppendEvent(nil, &part)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.w.p.s.js.PublishMsg(ctx(t), &nats.Msg{Subject: f.w.subject(), Header: nats.Header{hdrMark: {"x.1"}}, Data: data}); err != nil {
			t.Fatal(err)
		}
		r := NewReader(q, ReaderOptions{Subject: f.w.Subject, Stream: f.w.Subject + "/t"})
		if have := readAll(t, r); have != uint64(before) {
			t.Errorf("caught up at action %d, want %d", have, before)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		// A new writer removes it, or builds on what it tells.
		g := newFeed(t, q, f.w.Subject)
		if g.seq != uint64(before) || before == 0 && g.pos != "1:0" || before > 0 && g.pos != f.pos {
			t.Errorf("resumed at %q, number %d", g.pos, g.seq)
		}
		b := g.batch(2)
		b.After = g.pos
		g.write(b)
		if have := readAll(t, r); have != uint64(before+2) {
			t.Errorf("caught up at action %d, want %d", have, before+2)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOnlySubject: a reader that is told no subject reads the only one.
func TestOnlySubject(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	r := NewReader(q, ReaderOptions{Stream: "p/t"})
	defer r.Close()
	if err := r.Open(ctx(t), ""); !waybill.Transient(err) {
		t.Errorf("Open of an empty queue: %v, want a transient error", err)
	}
	f := newFeed(t, q, "orders")
	schema := conformance.Change(waybill.Upsert, "customer", `{"id":1}`, `{"name":"Ann"}`)
	schema.Schema = &waybill.Schema{Entity: "customer", Columns: []waybill.SchemaColumn{{Name: "id", Type: "int"}}}
	f.emit(schema)
	if have := readAll(t, r); have != 1 {
		t.Errorf("read %d actions, want 1", have)
	}
	newFeed(t, q, "invoices").emit()
	if err := r.Open(ctx(t), ""); err == nil || waybill.Transient(err) || errors.Is(err, waybill.ErrGap) {
		t.Errorf("Open of a queue with two subjects: %v", err)
	}
}

// TestLargeChangeRefused: one change that no message can hold.
func TestLargeChangeRefused(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "orders")
	b := f.of(f.action(1, conformance.Change(waybill.Upsert, "note", `{"id":1}`, `{"text":"`+strings.Repeat("x", maxChange)+`"}`)))
	var refusal *waybill.Refusal
	if err := f.w.Write(ctx(t), b); !errors.As(err, &refusal) || refusal.Remedy == "" {
		t.Errorf("Write: %v, want a *Refusal with a remedy", err)
	}
}

// TestWakeLatency: a reader that waits has the action about a millisecond after the write.
func TestWakeLatency(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	f := newFeed(t, q, "orders")
	r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/t"})
	defer r.Close()
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 20 {
		came := make(chan time.Time)
		go func() {
			_, err := r.Next(ctx(t))
			if err != nil {
				t.Error(err)
			}
			came <- time.Now()
		}()
		f.emit()
		wrote := time.Now()
		best = min(best, (<-came).Sub(wrote))
	}
	t.Logf("at best %v from Write's return to Next's", best)
	if best > pollLong/2 {
		t.Errorf("at best %v from Write's return to Next's: nobody wakes the reader", best)
	}
}
