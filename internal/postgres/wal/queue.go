package wal

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
)

// item is an action that was received and not handed on yet.
type item struct {
	action waybill.Action
	commit pgoutput.LSN
	end    pgoutput.LSN
	xid    uint32
}

// queue lies between the goroutine that receives and the one that calls Next.
type queue struct {
	bound int64         // bytes
	wake  chan struct{} // something was put
	room  chan struct{} // something was taken

	mu    sync.Mutex
	items []item
	usual int // items taken last
	bytes int64
	idle  pgoutput.LSN // up to here no action follows the items
	last  pgoutput.LSN // end of the newest action that was put, or where reading began
	err   error        // what follows them
	ended bool         // nothing is taken any more
	quiet bool         // something was put of which wake does not know yet
}

// tellAt is how many items wake who waits even though more are at hand.
const tellAt = 1000

func newQueue(bound int64, begin pgoutput.LSN) *queue {
	return &queue{bound: bound, idle: begin, last: begin, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put waits until there is room. Who waits for items is told by announce, or where they are many.
func (q *queue) put(ctx context.Context, it item) error {
	q.mu.Lock()
	for !q.ended && len(q.items) > 0 && q.bytes+int64(it.action.Size) > q.bound {
		q.mu.Unlock()
		signal(q.wake)
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		q.mu.Lock()
	}
	if q.items == nil {
		q.items = make([]item, 0, q.usual)
	}
	q.items = append(q.items, it)
	q.bytes += int64(it.action.Size)
	q.idle, q.last, q.quiet = max(q.idle, it.end), it.end, true
	many := len(q.items) >= tellAt
	q.mu.Unlock()
	if many {
		signal(q.wake)
	}
	return nil
}

// announce wakes who waits for what was put. The receiver calls it when nothing more is at hand.
func (q *queue) announce() {
	q.mu.Lock()
	quiet := q.quiet
	q.quiet = false
	q.mu.Unlock()
	if quiet {
		signal(q.wake)
	}
}

// open lets a put that waits go on: nothing is taken any more.
func (q *queue) open() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	signal(q.room)
}

// passed says that the log was read up to lsn.
func (q *queue) passed(lsn pgoutput.LSN) {
	q.mu.Lock()
	moved := lsn > q.idle
	q.idle = max(q.idle, lsn)
	q.mu.Unlock()
	if moved {
		signal(q.wake)
	}
}

// fail says what ended the receiving.
func (q *queue) fail(err error) {
	q.mu.Lock()
	q.err = err
	q.mu.Unlock()
	signal(q.wake)
}

// take returns the first items, as many as fit. Where there are none it tells up to where the log
// is passed, and the error that follows.
func (q *queue) take(maxActions int, maxBytes int64) ([]item, pgoutput.LSN, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil, q.idle, q.err
	}
	n, bytes := 0, int64(0)
	for n < len(q.items) && n < maxActions {
		size := int64(q.items[n].action.Size)
		if n > 0 && bytes+size > maxBytes {
			break
		}
		bytes += size
		n++
	}
	q.usual = n
	taken := q.items[:n:n]
	q.items = q.items[n:]
	if len(q.items) == 0 {
		q.items = nil
	}
	q.bytes -= bytes
	signal(q.room)
	return taken, 0, nil
}

// wait waits until something was put, at most for d (below zero: for ever).
func (q *queue) wait(ctx context.Context, d time.Duration) error {
	var due <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-q.wake:
	case <-due:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
