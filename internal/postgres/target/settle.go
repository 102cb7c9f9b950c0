package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// settleAttempts is how often one Write tries to find out what became of its commit; the
// waits between them double from settleWait. When it gives up the error is transient, and the
// next Write starts by finding out.
const (
	settleAttempts = 4
	settleWait     = 100 * time.Millisecond
)

// lost handles a connection that broke while a transaction was under way: nobody knows
// whether it was committed. It returns nil where it was.
func (w *Writer) lost(ctx context.Context, b waybill.Batch, cause error) error {
	w.disconnect()
	w.doubt = &doubtfulCommit{after: b.After, upto: b.Upto, upSeq: b.LastSeq(w.seq), cause: cause}
	if fault.Broken(fault.RetryUnknown) {
		w.doubt = nil
		return waybill.AsTransient(cause)
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	if w.held == b.Upto && b.Upto != b.After {
		return nil
	}
	return waybill.AsTransient(fmt.Errorf("nothing was written: %w", cause))
}

// settle finds out where the stream is. Afterwards no transaction that this worker began
// before can be committed, and w.held, w.seq and w.epoch are right.
func (w *Writer) settle(ctx context.Context) error {
	wait := settleWait
	for attempt := 1; ; attempt++ {
		err := w.settleOnce(ctx)
		if err == nil || !waybill.Transient(err) || attempt == settleAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("read back what a broken connection had committed: %w", ctx.Err())
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (w *Writer) settleOnce(ctx context.Context) error {
	doing := "read back at the target what a broken connection had committed"
	if w.link == nil || w.link.broken() {
		last := w.last
		if err := w.reconnect(ctx); err != nil {
			return err
		}
		w.last = last
	}
	held, seq, epoch, err := w.readBack(ctx)
	if server.Code(err) == "55P03" {
		// The old transaction still has the row locked: it is past its compare-and-swap and
		// stuck, perhaps for want of a standby. Only its end tells.
		w.endBackend(ctx, w.last, false)
		held, seq, epoch, err = w.readBack(ctx)
	}
	if errors.Is(err, waybill.ErrFenced) {
		w.doubt = nil
		return err
	}
	if err != nil {
		if w.link.broken() {
			w.link.close()
			w.link = nil
		}
		return server.Classify(err, doing)
	}
	w.endBackend(ctx, w.last, true)
	known := held == w.doubt.after || held == w.doubt.upto
	w.doubt = nil
	if !known {
		return w.fenced()
	}
	w.held, w.seq, w.epoch = held, seq, epoch
	return nil
}

// readBack raises the epoch, as long as the lease is still this worker's, and returns what
// the target holds. Waiting for the row's lock, it waits for an old transaction to end.
func (w *Writer) readBack(ctx context.Context) (held waybill.Position, seq uint64, epoch int64, err error) {
	tx, err := w.link.conn.Begin(ctx)
	if err != nil {
		return "", 0, 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := limitWait(ctx, tx); err != nil {
		return "", 0, 0, err
	}
	holder, err := readLease(ctx, tx, w.stream)
	if err != nil {
		return "", 0, 0, err
	}
	if holder.token != w.token {
		return w.readOnly(ctx, tx)
	}
	held, seq, epoch, err = w.raiseEpoch(ctx, tx)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", 0, 0, fmt.Errorf("%w: stream %s was dropped at the target", waybill.ErrFenced, w.stream)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	return held, seq, epoch, err
}

// readOnly is for a worker that is no longer the holder. If the batch is there, its write
// succeeded all the same; what it tries next is fenced, because its epoch is not raised.
func (w *Writer) readOnly(ctx context.Context, tx pgx.Tx) (waybill.Position, uint64, int64, error) {
	var position string
	err := tx.QueryRow(ctx, "SELECT position FROM waybill.position WHERE stream = $1 FOR UPDATE", w.stream).Scan(&position)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", 0, 0, err
	}
	if err == nil && waybill.Position(position) == w.doubt.upto && w.doubt.upto != w.doubt.after {
		return w.doubt.upto, w.doubt.upSeq, w.epoch, nil
	}
	return "", 0, 0, w.fenced()
}

func (w *Writer) fenced() error {
	return fmt.Errorf("%w: stream %s at the target", waybill.ErrFenced, w.stream)
}
