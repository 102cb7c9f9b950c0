package conformance_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// memSource is a source in memory: a list of committed actions and its consumers. flaw
// names what it or its readers do wrong.
type memSource struct {
	flaw string
	name string

	mu        sync.Mutex
	begun     int // transactions begun: draws insertion order
	log       []memAction
	gone      int            // how many of log were purged
	consumers map[string]int // actions acknowledged, counted in log
	wake      chan struct{}
}

type memAction struct {
	id      string
	drawn   int
	changes []waybill.Change
	bad     bool
}

func newMemSource(t *testing.T, flaw string) *memSource {
	return &memSource{flaw: flaw, name: t.Name() + fmt.Sprint(time.Now().UnixNano()), consumers: map[string]int{"main": 0}, wake: make(chan struct{})}
}

func (s *memSource) commit(a memAction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, a)
	if s.flaw == "order by insertion" {
		slices.SortStableFunc(s.log, func(a, b memAction) int { return a.drawn - b.drawn })
	}
	close(s.wake)
	s.wake = make(chan struct{})
}

func (s *memSource) draw() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	return s.begun
}

func (s *memSource) source() conformance.Source {
	return conformance.Source{
		New: func(testing.TB) waybill.Reader { return &memReader{s: s, consumer: "main"} },
		Emit: func(_ testing.TB, changes ...waybill.Change) string {
			n := s.draw()
			s.commit(memAction{id: fmt.Sprint(s.name, n), drawn: n, changes: changes})
			return fmt.Sprint(s.name, n)
		},
		Exact: true, MaxActions: 10,
		Begin: func(testing.TB) conformance.Tx {
			n := s.draw()
			tx := &memTx{s: s, a: memAction{id: fmt.Sprint(s.name, n), drawn: n}}
			if s.flaw == "dirty read" {
				s.commit(tx.a)
			}
			return tx
		},
		Consumer: func(_ testing.TB, stream string) waybill.Reader {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, ok := s.consumers[stream]; !ok {
				s.consumers[stream] = s.gone
			}
			return &memReader{s: s, consumer: stream}
		},
		Malformed: func(testing.TB) { s.commit(memAction{id: "bad", bad: true}) },
		Purge:     func(testing.TB) { s.purge() },
		Retained:  func(testing.TB) int { return len(s.log) - s.gone },
		Swap: func(t testing.TB) {
			s.name, s.log, s.gone, s.consumers = t.Name()+"swapped", nil, 0, map[string]int{"main": 0}
		},
		Backup: func(testing.TB) func(testing.TB) {
			log, gone, acked := slices.Clone(s.log), s.gone, s.consumers["main"]
			return func(testing.TB) { s.log, s.gone, s.consumers["main"] = log, gone, acked }
		},
	}
}

func (s *memSource) purge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := len(s.log)
	for name, n := range s.consumers {
		if s.flaw != "purge unacknowledged" || name == "main" {
			least = min(least, n)
		}
	}
	if s.flaw == "purge unread" {
		least = len(s.log)
	}
	if s.flaw != "purge nothing" {
		s.gone = max(s.gone, least-1) // the last acknowledged stays, to know it again
	}
}

type memTx struct {
	s *memSource
	a memAction
}

func (x *memTx) Emit(_ testing.TB, changes ...waybill.Change) {
	x.a.changes = append(x.a.changes, changes...)
	if x.s.flaw == "split transaction" {
		x.s.commit(memAction{id: fmt.Sprint(x.a.id, len(x.a.changes)), changes: changes})
	}
}

func (x *memTx) Commit(testing.TB) string {
	x.s.commit(x.a)
	return x.a.id
}

func (x *memTx) Rollback(testing.TB) {
	if x.s.flaw == "dirty rollback" {
		x.s.commit(x.a)
	}
}

// memReader reads a memSource. Its position is "1/SOURCE/INDEX/ID": the actions up to INDEX
// of the log were handed on, ID is the last of them; the first number is its version.
type memReader struct {
	s        *memSource
	consumer string
	open     bool
	base     int // index in the log of the action that the stream numbers 1
	at       int
	after    waybill.Position
	skipped  uint64

	mu   sync.Mutex
	poke bool
}

func (r *memReader) position(n int) waybill.Position {
	id := ""
	if n > 0 {
		id = r.s.log[n-1].id
	}
	return waybill.Position(fmt.Sprintf("1|%s|%d|%s|%d|", r.s.name, n, id, r.base))
}

func (r *memReader) Open(_ context.Context, after waybill.Position) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.at, r.base = r.s.gone, r.s.gone
	acked := r.s.consumers[r.consumer]
	if after == "" && acked > r.s.gone && r.s.flaw != "restart at what is left" {
		return &waybill.GapError{Stream: r.consumer, Reason: "acknowledged actions that the target does not have"}
	}
	if after != "" {
		n, base, err := r.parse(after)
		if err != nil {
			return err
		}
		r.at, r.base = n, base
	}
	r.skipped = 0
	if r.at > acked {
		r.skipped = uint64(r.at - acked)
	}
	if r.s.flaw == "open acknowledges" {
		r.s.consumers[r.consumer] = len(r.s.log)
	}
	r.open, r.after = true, after
	return nil
}

func (r *memReader) parse(p waybill.Position) (n, base int, err error) {
	gap := &waybill.GapError{Stream: r.consumer, Reason: "not a position of this source"}
	f := strings.Split(string(p), "|")
	if len(f) != 6 || f[0] != "1" && r.s.flaw != "any version" || f[5] != "" {
		return 0, 0, gap
	}
	n, err = strconv.Atoi(f[2])
	if err != nil {
		return 0, 0, gap
	}
	base, _ = strconv.Atoi(f[4])
	foreign := f[1] != r.s.name || n > len(r.s.log) || n > 0 && r.s.log[n-1].id != f[3]
	if foreign && r.s.flaw == "any source" {
		return min(n, len(r.s.log)), base, nil
	}
	if foreign || n < r.s.gone {
		return 0, 0, gap
	}
	return n, base, nil
}

func (r *memReader) Next(ctx context.Context) (waybill.Batch, error) {
	if r.s.flaw == "deaf" {
		ctx = context.WithoutCancel(ctx)
	}
	for {
		if err := ctx.Err(); err != nil {
			return waybill.Batch{}, fmt.Errorf("read: %w", err)
		}
		r.s.mu.Lock()
		wake := r.s.wake
		b, err := r.batch()
		r.s.mu.Unlock()
		r.mu.Lock()
		poked := r.poke
		r.poke = false
		r.mu.Unlock()
		if err != nil || len(b.Actions) > 0 || poked {
			return b, err
		}
		tick := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
		tick.Stop()
	}
}

func (r *memReader) batch() (waybill.Batch, error) {
	b := waybill.Batch{After: r.after}
	for r.at < len(r.s.log) && len(b.Actions) < 10 {
		a := r.s.log[r.at]
		if a.bad {
			if r.s.flaw == "skip malformed" {
				r.at++
				r.base++
				continue
			}
			if len(b.Actions) == 0 {
				return b, &waybill.Refusal{Action: a.id, Reason: "malformed"}
			}
			break
		}
		r.at++
		b.Actions = append(b.Actions, r.action(a))
	}
	b.Upto = r.position(r.at)
	if r.s.flaw == "numbers start anew" && len(b.Actions) > 0 {
		r.base = r.at // the next batch begins at 1 again
	}
	r.after = b.Upto
	return b, nil
}

func (r *memReader) action(a memAction) waybill.Action {
	act := waybill.Action{ID: a.id, Seq: uint64(r.at - r.base), Time: time.Now(), Size: 100, Changes: waybill.ChangeList(a.changes)}
	switch r.s.flaw {
	case "id of the delivery":
		act.ID = fmt.Sprint(a.id, time.Now().UnixNano())
	case "iterate once":
		act.Changes = &memOnce{ChangeList: a.changes}
	case "half a large action":
		act.Changes = waybill.ChangeList(a.changes[:min(len(a.changes), 1000)])
	}
	return act
}

type memOnce struct {
	waybill.ChangeList
	used int
}

func (o *memOnce) All() iter.Seq2[*waybill.Change, error] {
	if o.used++; o.used > 2 {
		return func(func(*waybill.Change, error) bool) {}
	}
	return o.ChangeList.All()
}

func (r *memReader) Ack(_ context.Context, p waybill.Position) error {
	if p == "" {
		return nil
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	n, _, err := r.parse(p)
	if err != nil {
		return nil // what was purged was acknowledged
	}
	if r.s.flaw == "ack everything read" {
		n = max(n, r.at)
	}
	r.s.consumers[r.consumer] = max(r.s.consumers[r.consumer], n)
	return nil
}

func (r *memReader) Head(context.Context) (waybill.Position, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.mu.Lock()
	r.poke = r.s.flaw != "head does not wake"
	r.mu.Unlock()
	return r.position(len(r.s.log)), nil
}

func (r *memReader) Reached(p, head waybill.Position) bool {
	if r.s.flaw == "head is always reached" {
		return true
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	h, _, err := r.parse(head)
	if err != nil || p == "" {
		return false
	}
	n, _, err := r.parse(p)
	return err == nil && n >= h
}

func (r *memReader) Backlog(_ context.Context, p waybill.Position) (int64, time.Duration, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	n := 0
	if p != "" {
		n, _, _ = r.parse(p)
	}
	if r.s.flaw == "backlog counts everything" {
		n = 0
	}
	return int64(len(r.s.log) - n), 0, nil
}

func (r *memReader) Suppressed() uint64 {
	if r.s.flaw == "suppressed counts nothing" {
		return 0
	}
	return r.skipped
}

func (r *memReader) Drop(_ context.Context, stream string) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.flaw != "drop leaves the consumer" {
		delete(r.s.consumers, stream)
	}
	return nil
}

func (r *memReader) Close() error {
	if r.s.flaw == "close once" && !r.open {
		return fmt.Errorf("not open")
	}
	if r.s.flaw == "leaves a goroutine" && r.open {
		go func() { <-make(chan int) }()
	}
	r.open = false
	return nil
}
