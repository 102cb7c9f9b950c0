package pump

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
)

// queue holds what was read and not yet written. While a write is under way batches gather
// in it, and the next write takes them together: load makes batches larger by itself.
type queue struct {
	maxActions int
	maxBytes   int64

	mu      sync.Mutex
	batches []waybill.Batch
	actions int
	bytes   int64
	err     error

	changed chan struct{} // closed and replaced whenever any of the above changes
}

func newQueue(maxActions int, maxBytes int64) *queue {
	return &queue{maxActions: maxActions, maxBytes: maxBytes, changed: make(chan struct{})}
}

func (q *queue) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// put waits while the queue is full. One batch always finds room in an empty queue.
func (q *queue) put(ctx context.Context, b waybill.Batch) error {
	size := int64(b.Size())
	for {
		q.mu.Lock()
		if !q.full() {
			q.batches = append(q.batches, b)
			q.actions += len(b.Actions)
			q.bytes += size
			q.notify()
			q.mu.Unlock()
			return nil
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// fail makes take return err once the queue is empty.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.notify()
}

// wake lets take look at done again.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.notify()
}

// take waits for something to write and returns as much of it as one batch may hold; no more
// once done says so. It lets what is there wait up to linger for more.
func (q *queue) take(ctx context.Context, linger time.Duration, done func() bool) (b waybill.Batch, more bool, err error) {
	var due <-chan time.Time
	for {
		q.mu.Lock()
		if done() {
			q.mu.Unlock()
			return waybill.Batch{}, false, nil
		}
		some := len(q.batches) > 0 && ctx.Err() == nil
		if some && (linger <= 0 || q.full() || q.err != nil) {
			b := q.merge()
			q.notify()
			q.mu.Unlock()
			return b, true, nil
		}
		if some && due == nil {
			timer := time.NewTimer(linger)
			defer timer.Stop()
			due = timer.C
		}
		err, changed := q.err, q.changed
		q.mu.Unlock()
		if err != nil && !some {
			return waybill.Batch{}, false, err
		}
		select {
		case <-ctx.Done():
			return waybill.Batch{}, false, ctx.Err()
		case <-due:
			linger = 0
		case <-changed:
		}
	}
}

func (q *queue) full() bool { return q.actions >= q.maxActions || q.bytes >= q.maxBytes }

func (q *queue) merge() waybill.Batch {
	b, n := q.batches[0], 1
	actions, bytes := len(b.Actions), int64(b.Size())
	for ; n < len(q.batches); n++ {
		next := q.batches[n]
		a, s := len(next.Actions), int64(next.Size())
		if actions+a > q.maxActions || bytes+s > q.maxBytes {
			break
		}
		actions, bytes = actions+a, bytes+s
	}
	b = b.Join(q.batches[1:n]...)
	q.batches = append(q.batches[:0:0], q.batches[n:]...)
	q.actions -= actions
	q.bytes -= bytes
	return b
}
