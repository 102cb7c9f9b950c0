package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// lease is a row of waybill.lease.
type lease struct {
	owner, token, host string
	pid                int32
	backend            backendID
	alive              bool
	left               float64 // seconds until it runs out
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// readLease locks the stream's lease; the zero lease where there is none.
func readLease(ctx context.Context, q querier, stream string) (lease, error) {
	var l lease
	err := q.QueryRow(ctx, `SELECT owner, token, host, pid, backend, backend_start, expires_at > clock_timestamp(),
		extract(epoch FROM expires_at - clock_timestamp())::float8 FROM waybill.lease WHERE stream = $1 FOR UPDATE`, stream).
		Scan(&l.owner, &l.token, &l.host, &l.pid, &l.backend.pid, &l.backend.start, &l.alive, &l.left)
	if errors.Is(err, pgx.ErrNoRows) {
		return lease{}, nil
	}
	return l, err
}

func (l lease) heldError(stream string) error {
	owner := l.owner
	if owner == "" {
		owner = "without a state directory"
	}
	return fmt.Errorf("%w: %s at the target, by engine %s on host %s, process %d, backend %d; its lease runs out in %.0f s",
		waybill.ErrHeld, stream, owner, l.host, l.pid, l.backend.pid, max(l.left, 1))
}

// mine tells whether this worker may take over at once: it is the holder itself, or holds
// the file lock that the holder held.
func (w *Writer) mine(l lease) bool {
	return l.token == w.token || l.owner == w.opts.Owner && l.owner != ""
}

// take makes this worker the holder and raises the epoch, or reports who holds the stream.
func (w *Writer) take(ctx context.Context) error {
	doing := "take stream " + w.stream + " at the target"
	former, err := w.tryTake(ctx)
	if server.Code(err) == "55P03" && former.token != "" {
		// The former holder has the row locked in a transaction of its own and its lease ran
		// out: it is frozen, or its commit is under way.
		w.endBackend(ctx, former.backend, false)
		former, err = w.tryTake(ctx)
	}
	if err != nil {
		if errors.Is(err, waybill.ErrHeld) {
			return err
		}
		return explainPrivilege(ctx, w.link.conn, err, doing)
	}
	fault.Hit(fault.ResumeTaken)
	// Whatever the former holder has under way cannot be committed any more, but may hold
	// locks on rows that this worker is about to write.
	w.endBackend(ctx, former.backend, true)
	return nil
}

// tryTake returns the lease that it found.
func (w *Writer) tryTake(ctx context.Context) (former lease, err error) {
	tx, err := w.link.conn.Begin(ctx)
	if err != nil {
		return lease{}, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := limitWait(ctx, tx); err != nil {
		return lease{}, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO waybill.lease (stream, owner, token, host, pid, backend, expires_at)
		VALUES ($1, '', '', '', 0, 0, 'epoch') ON CONFLICT (stream) DO NOTHING`, w.stream); err != nil {
		return lease{}, err
	}
	if former, err = readLease(ctx, tx, w.stream); err != nil {
		return lease{}, err
	}
	if former.alive && !w.mine(former) {
		return former, former.heldError(w.stream)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO waybill.position (stream, position, seq, epoch) VALUES ($1, '', 0, 0)
		ON CONFLICT (stream) DO NOTHING`, w.stream); err != nil {
		return former, err
	}
	held, seq, epoch, err := w.raiseEpoch(ctx, tx)
	if err != nil {
		return former, err
	}
	if err := tx.Commit(ctx); err != nil {
		return former, err
	}
	w.held, w.seq, w.epoch = held, seq, epoch
	return former, nil
}

// raiseEpoch shuts out everybody who goes by an older epoch, and names this worker holder.
func (w *Writer) raiseEpoch(ctx context.Context, tx pgx.Tx) (held waybill.Position, seq uint64, epoch int64, err error) {
	var position string
	var number, foreign int64
	err = tx.QueryRow(ctx, `UPDATE waybill.position SET epoch = epoch + 1, updated_at = clock_timestamp() WHERE stream = $1
		RETURNING position, seq, epoch, foreign_writes`, w.stream).Scan(&position, &number, &epoch, &foreign)
	if err != nil {
		return "", 0, 0, err
	}
	w.foreign.Store(uint64(foreign))
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	_, err = tx.Exec(ctx, `UPDATE waybill.lease SET owner = $2, token = $3, host = $4, pid = $5, backend = $6, backend_start = $7,
		expires_at = clock_timestamp() + make_interval(secs => $8) WHERE stream = $1`,
		w.stream, w.opts.Owner, w.token, host, os.Getpid(), w.link.backend.pid, w.link.backend.start, w.opts.Lease.Seconds())
	return waybill.Position(position), uint64(number), epoch, err
}

func limitWait(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockPatience.Milliseconds()))
	return err
}

// endBackend ends a backend of a former holder. It is a help, not a guard: it may lack the
// privilege, and then that backend's locks last until the server notices.
func (w *Writer) endBackend(ctx context.Context, b backendID, onlyBusy bool) {
	if b.pid == 0 || b.start == nil || b.pid == w.link.backend.pid {
		return
	}
	var ended bool
	err := w.link.conn.QueryRow(ctx, `SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity
		WHERE pid = $1 AND backend_start = $2 AND (state <> 'idle' OR NOT $3)`, b.pid, b.start, onlyBusy).Scan(&ended)
	if err != nil {
		w.log.Warn("the former holder's session could not be ended", "stream", w.stream, "backend", b.pid, "error", err)
	} else if ended {
		w.log.Info("ended the former holder's session, which had a transaction open", "stream", w.stream, "backend", b.pid)
	}
}

// giveBack frees the lease, if it is still this worker's.
func (w *Writer) giveBack(ctx context.Context) error {
	if w.link == nil || w.link.broken() {
		if err := w.reconnect(ctx); err != nil {
			return fmt.Errorf("give back stream %s at the target: %w", w.stream, err)
		}
	}
	_, err := w.link.conn.Exec(ctx, "DELETE FROM waybill.lease WHERE stream = $1 AND token = $2", w.stream, w.token)
	return server.Classify(err, "give back stream "+w.stream+" at the target")
}

// leaseRenewal is the goroutine that keeps the lease alive on a connection of its own.
type leaseRenewal struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *Writer) startRenewal() {
	ctx, cancel := context.WithCancel(context.Background())
	r := &leaseRenewal{cancel: cancel, done: make(chan struct{})}
	w.renewal = r
	stream := w.stream
	go func() {
		defer close(r.done)
		w.renew(ctx, stream)
	}()
}

func (w *Writer) stopRenewal() {
	if w.renewal == nil {
		return
	}
	w.renewal.cancel()
	<-w.renewal.done
	w.renewal = nil
}

// renew prolongs the lease three times while it lasts, and more often after a failure, until
// ctx ends or the lease is another's, and tells of locks that the writes wait for. It reads only
// what never changes in w, and w.backend.
func (w *Writer) renew(ctx context.Context, stream string) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			server.Close(conn)
		}
	}()
	pace := w.opts.Lease * 3 / 10
	timer := time.NewTimer(pace)
	defer timer.Stop()
	locks := lockWatch{w: w}
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		held, err := w.renewOnce(ctx, &conn, stream)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !held:
			w.log.Warn("the lease is another engine's now", "stream", stream)
			return
		case err == nil:
			fault.Hit(fault.LeaseRenewed)
			failing = false
			locks.look(ctx, conn, stream)
			timer.Reset(pace)
		default:
			if !failing {
				w.log.Warn("the lease could not be renewed; trying again", "stream", stream, "error", err)
			}
			failing = true
			timer.Reset(pace / 4)
		}
	}
}

// renewOnce reports whether the lease is still this worker's.
func (w *Writer) renewOnce(ctx context.Context, conn **pgx.Conn, stream string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, w.opts.Lease)
	defer cancel()
	if *conn != nil && (*conn).IsClosed() {
		server.Close(*conn)
		*conn = nil
	}
	if *conn == nil {
		// Losing a renewal in a crash does no harm, so it need not wait for the disk.
		c, err := server.Connect(ctx, w.opts.URL, server.Options{Name: "waybill lease", Params: map[string]string{"synchronous_commit": "off"}})
		if err != nil {
			return false, err
		}
		*conn = c
	}
	tag, err := (*conn).Exec(ctx, `UPDATE waybill.lease SET expires_at = clock_timestamp() + make_interval(secs => $3)
		WHERE stream = $1 AND token = $2`, stream, w.token, w.opts.Lease.Seconds())
	return tag.RowsAffected() == 1, err
}
