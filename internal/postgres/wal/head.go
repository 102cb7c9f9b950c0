package wal

import (
	"context"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

const (
	// headPatience is how long Head waits for the receiver to come to the end of the log, and
	// headPause is how often it looks.
	headPatience = 300 * time.Millisecond
	headPause    = 2 * time.Millisecond

	// pageSize and pageHeader are of the server's log. Where a record would begin a page the server
	// calls that the end of the page's header, and the end of a record there the end of the page.
	pageSize, pageHeader = 8192, 24
)

// Head is the end of the newest action, once the receiver has come to where the log ends. Where it
// does not come there soon Head is the end of the log, which Next passes even if no action is
// there. What the server has written and not flushed, which it does not send, is flushed by a mark
// of our own then: the only case in which Head writes to the source.
func (o *Reader) Head(ctx context.Context) (waybill.Position, error) {
	p, err := o.end(ctx)
	if err != nil {
		return "", err
	}
	q := o.receiving.Load()
	last := pgoutput.LSN(0)
	if q != nil {
		if last, err = q.await(ctx, p.lsn); err != nil {
			return "", err
		}
	}
	if last > 0 {
		p.lsn = last
	} else if err := o.flush(ctx, p.lsn); err != nil {
		return "", err
	}
	o.aimAt(p.lsn)
	if q != nil {
		signal(q.wake) // it may have been passed already
	}
	return p.encode(), nil
}

// end is where the log ends.
func (o *Reader) end(ctx context.Context) (p position, err error) {
	err = o.side.do(ctx, func(c *sideConn) error {
		var text string
		if err := c.QueryRow(ctx, `select pg_current_wal_insert_lsn()::text`).Scan(&text); err != nil {
			return server.Classify(err, "find the end of the source's log")
		}
		lsn, err := pgoutput.ParseLSN(text)
		if err != nil {
			return err
		}
		if lsn%pageSize == pageHeader {
			lsn -= pageHeader
		}
		p.lsn, p.source, p.timeline = lsn, c.identity.Source, c.identity.Timeline
		return nil
	})
	return p, err
}

// flush makes the server flush its log up to lsn, if it did not.
func (o *Reader) flush(ctx context.Context, lsn pgoutput.LSN) error {
	return o.side.do(ctx, func(c *sideConn) error {
		_, err := c.Exec(ctx, `select pg_logical_emit_message(true, 'waybill.head', '') where pg_current_wal_flush_lsn() < $1::text::pg_lsn`, lsn.String())
		return server.Classify(err, "flush the source's log")
	})
}

// aimAt lets Next pass lsn as soon as it can.
func (o *Reader) aimAt(lsn pgoutput.LSN) {
	for {
		old := o.head.Load()
		if uint64(lsn) <= old || o.head.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// Reached compares the places in the log.
func (o *Reader) Reached(p, head waybill.Position) bool {
	a, err := decodePosition(p)
	if err != nil {
		return false
	}
	b, err := decodePosition(head)
	return err == nil && a.lsn >= b.lsn
}

// await waits a little until everything that is in the log before lsn was received, and returns the
// end of the newest action then; else 0, at once where the receiver waits for Next.
func (q *queue) await(ctx context.Context, lsn pgoutput.LSN) (pgoutput.LSN, error) {
	deadline := time.Now().Add(headPatience)
	tick := time.NewTicker(headPause)
	defer tick.Stop()
	for {
		q.mu.Lock()
		passed, last, late := q.idle >= lsn, q.last, q.ended || q.err != nil || 2*q.bytes > q.bound
		q.mu.Unlock()
		if passed {
			return last, nil
		}
		if late || time.Now().After(deadline) {
			return 0, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
