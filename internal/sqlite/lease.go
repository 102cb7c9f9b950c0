package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// The lease is a row that says who writes the stream and until when, by the clock of the
// machine that the file is on. It only keeps a second engine waiting politely: what keeps
// the data right is the epoch in waybill_position.

// takeLease fails with ErrHeld if somebody else's lease is alive. Called in a transaction.
func (w *Writer) takeLease(ctx context.Context) error {
	r, err := w.c.row(ctx, "SELECT owner, instance, holder, length_ms, expires_ms FROM waybill_lease WHERE stream = ?", w.stream)
	if errors.Is(err, errNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	length, _ := r[3].(int64)
	expires, _ := r[4].(int64)
	left := time.Duration(expires-time.Now().UnixMilli()) * time.Millisecond
	// More left than a lease is long: the clock was set back. Nobody can say when such a
	// lease ends; taking it is safe.
	alive := left > 0 && left <= time.Duration(length)*time.Millisecond
	ours := str(r[1]) == w.instance || w.opt.Owner != "" && str(r[0]) == w.opt.Owner
	if alive && !ours {
		return fmt.Errorf("SQLite database %s: %w: %s, whose lease ends in %s", w.opt.Path, waybill.ErrHeld, str(r[2]), left.Round(time.Millisecond))
	}
	return nil
}

// holdLease makes the lease ours. Called in a transaction.
func (w *Writer) holdLease(ctx context.Context) error {
	now := time.Now().UnixMilli()
	_, err := w.c.exec(ctx, `INSERT INTO waybill_lease (stream, epoch, owner, instance, holder, length_ms, expires_ms)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (stream) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner,
  instance = excluded.instance, holder = excluded.holder, length_ms = excluded.length_ms, expires_ms = excluded.expires_ms`,
		w.stream, w.epoch, w.opt.Owner, w.instance, w.holder(), w.opt.Lease.Milliseconds(), now+w.opt.Lease.Milliseconds())
	if err == nil {
		w.renewed.Store(now)
	}
	return err
}

// giveBack ends the lease. Called in a transaction.
func (w *Writer) giveBack(ctx context.Context) error {
	_, err := w.c.exec(ctx, "DELETE FROM waybill_lease WHERE stream = ? AND epoch = ?", w.stream, w.epoch)
	return err
}

// renewSQL prolongs a lease that is still of this epoch.
const renewSQL = "UPDATE waybill_lease SET expires_ms = ? WHERE stream = ? AND epoch = ?"

// renewEvery is how often the lease is renewed: three times before it runs out.
func (w *Writer) renewEvery() time.Duration { return w.opt.Lease * 3 / 10 }

func (w *Writer) renewalDue() bool {
	return time.Now().UnixMilli()-w.renewed.Load() >= w.renewEvery().Milliseconds()
}

// renewWithin renews the lease in the transaction of a batch, if it is time: a stream that
// is written needs no transactions for its lease alone.
func (w *Writer) renewWithin(ctx context.Context) (at int64, err error) {
	if !w.renewalDue() {
		return 0, nil
	}
	at = time.Now().UnixMilli()
	_, err = w.c.exec(ctx, renewSQL, at+w.opt.Lease.Milliseconds(), w.stream, w.epoch)
	return at, err
}

// renewer renews the lease of a stream that has nothing to write, on a connection of its own.
type renewer struct {
	w      *Writer
	stream string
	epoch  int64
	cancel context.CancelFunc
	done   chan struct{}
}

func startRenewing(w *Writer) *renewer {
	ctx, cancel := context.WithCancel(context.Background())
	r := &renewer{w: w, stream: w.stream, epoch: w.epoch, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
	return r
}

// stopRenewing ends the renewer and waits for it.
func (w *Writer) stopRenewing() {
	if w.renewer != nil {
		w.renewer.cancel()
		<-w.renewer.done
		w.renewer = nil
	}
}

// run renews until ctx ends or somebody else has taken the stream. Failures are tried again:
// should the lease run out meanwhile, the epoch still keeps the data right.
func (r *renewer) run(ctx context.Context) {
	tick := time.NewTicker(r.w.renewEvery())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !r.w.renewalDue() {
			continue
		}
		lost, err := r.renew(ctx)
		if err != nil && ctx.Err() == nil {
			r.w.log.Debug("the lease could not be renewed", "stream", r.stream, "error", err)
		}
		if lost {
			r.w.log.Warn("another engine took the stream over", "stream", r.stream)
			return
		}
	}
}

// renew opens the file for the one statement: an idle connection would keep alive a file
// that somebody is replacing.
func (r *renewer) renew(ctx context.Context) (lost bool, err error) {
	// The lease need not survive a power failure: NORMAL saves the sync.
	c, err := openConn(ctx, r.w.opt.Path, connOptions{busy: r.w.renewEvery(), pragmas: []string{"synchronous(NORMAL)"}})
	if err != nil {
		return false, err
	}
	defer func() { _ = c.close() }()
	now := time.Now().UnixMilli()
	n, err := c.exec(ctx, renewSQL, now+r.w.opt.Lease.Milliseconds(), r.stream, r.epoch)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return true, nil
	}
	r.w.renewed.Store(now)
	fault.Hit(fault.LeaseRenewed)
	return false, nil
}
