package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lib "modernc.org/sqlite/lib"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/fault"
)

// TargetOptions say which database is written, and by whom.
type TargetOptions struct {
	Path string // of the database file, which must exist
	// Owner, where not empty, is an identity that no two running engines share: a lease of
	// the same owner is taken over at once.
	Owner string
	Lease time.Duration // default 10 s
	Log   *slog.Logger  // nil: discarded
	// Define tells whether an entity's table is made where it is missing, and whether it follows the
	// source: then columns are added that changes carry and the table lacks, and the stream stops where
	// a column was dropped or retyped at the source, or the table's cannot hold all of its values. The
	// entity "" stands for those of which nothing is known yet. Nil: neither.
	Define func(entity string) (create, evolve bool)
	// Describe tells what a table is to be like for a change that comes without a schema. Untyped, if not
	// empty, says that a column which the change carries has no type, and where to give it, in an
	// imperative clause. Nil: nobody knows.
	Describe func(c *waybill.Change) (s *waybill.Schema, untyped string)
}

const (
	defaultLease = 10 * time.Second
	// writeBusy is how long a write waits for the application's transaction.
	writeBusy = 5 * time.Second
	// closeFor bounds how long Close waits to give the lease back.
	closeFor = 2 * time.Second
	// lookUpEvery is after how many changes a write looks whether its context has ended.
	lookUpEvery = 256
)

// Writer applies actions to tables of a database file. See the package documentation.
type Writer struct {
	opt      TargetOptions
	log      *slog.Logger
	instance string // tells this Writer from others of the same owner

	c       *conn
	plans   *planner
	stream  string
	epoch   int64
	pos     waybill.Position // what the target holds
	seq     uint64
	doubt   *waybill.Batch // its commit gave no clear answer
	defs    *definitions
	found   uint64        // foreign writes in the transaction that is under way
	foreign atomic.Uint64 // those that the target has counted
	renewed atomic.Int64  // when the lease was renewed last, Unix milliseconds
	renewer *renewer

	commit func(*conn) error // (*conn).commit; tests put a lost answer in its place
}

// NewWriter prepares a writer; it opens nothing.
func NewWriter(o TargetOptions) *Writer {
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Writer{opt: o, log: o.Log, instance: uuid.NewString(), commit: (*conn).commit, defs: newDefinitions(&o)}
}

// Resume takes the stream; see waybill.Writer.
func (w *Writer) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	w.stopRenewing()
	if err := w.open(ctx); err != nil {
		return "", err
	}
	if w.stream != stream {
		w.stream, w.epoch = stream, 0
	}
	err := w.c.write(ctx, w.take)
	if errors.Is(err, waybill.ErrHeld) {
		return "", err
	}
	if err != nil {
		return "", w.c.wrap("write to", err)
	}
	fault.Hit(fault.ResumeTaken)
	w.renewer = startRenewing(w)
	return w.pos, nil
}

// open opens the file anew, so that a replaced one is noticed.
func (w *Writer) open(ctx context.Context) (err error) {
	w.disconnect()
	w.c, err = openConn(ctx, w.opt.Path, connOptions{busy: writeBusy, pragmas: []string{
		// EXTRA is FULL that also covers rollback journals: a commit is on disk.
		"synchronous(EXTRA)",
		"foreign_keys(1)",
		"cache_size(-16384)",
		// Scattered keys touch about a page each: moving pages to the database file every
		// 16 MiB instead of every 4 makes half as much again of throughput.
		"wal_autocheckpoint(4000)",
	}})
	if err != nil {
		return err
	}
	w.plans = newPlanner(w.c, w.defs)
	return nil
}

func (w *Writer) disconnect() {
	if w.c == nil {
		return
	}
	w.plans.forget()
	w.c.rollback()
	if err := w.c.close(); err != nil {
		w.log.Warn("close SQLite database", "path", w.opt.Path, "error", err)
	}
	w.c, w.plans = nil, nil
}

// take raises the stream's epoch, in a transaction.
func (w *Writer) take(ctx context.Context) error {
	if err := knownFormat(ctx, w.c, "target_format", targetFormat); err != nil {
		return err
	}
	have, err := w.c.number(ctx, "SELECT count(*) FROM sqlite_master WHERE name IN ('waybill_meta', 'waybill_position', 'waybill_lease')")
	if err != nil {
		return err
	}
	if have < 3 {
		if err := w.c.script(ctx, targetDDL); err != nil {
			return err
		}
	}
	have, err = w.c.number(ctx, "SELECT count(*) FROM pragma_table_info('waybill_position') WHERE name = 'foreign_writes'")
	if err == nil && have == 0 {
		err = w.c.script(ctx, addForeignWrites)
	}
	if err != nil {
		return err
	}
	if err := w.takeLease(ctx); err != nil {
		return err
	}
	row, err := w.c.row(ctx, `INSERT INTO waybill_position (stream, position, seq, epoch, applied, filtered, parked, discarded, updated_at)
VALUES (?, '', 0, 1, 0, 0, 0, 0, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (stream) DO UPDATE SET epoch = epoch + 1
RETURNING position, seq, epoch, foreign_writes`, w.stream)
	if err != nil {
		return err
	}
	seq, _ := row[1].(int64)
	w.pos, w.seq, w.doubt = waybill.Position(str(row[0])), uint64(seq), nil
	w.epoch, _ = row[2].(int64)
	foreign, _ := row[3].(int64)
	w.foreign.Store(uint64(foreign))
	w.defs.forget()
	return w.holdLease(ctx)
}

// Write applies b in one transaction; see waybill.Writer.
func (w *Writer) Write(ctx context.Context, b waybill.Batch) error {
	if w.epoch == 0 {
		return fmt.Errorf("write to SQLite database %s: no stream was taken", w.opt.Path)
	}
	if done, err := w.reconnect(ctx, &b); done || err != nil {
		return err
	}
	if b.After != w.pos {
		return w.gap("the batch does not continue the position that the target holds", "")
	}
	if err := b.CheckDense(w.stream, w.seq); err != nil {
		return err
	}
	if len(b.Actions) == 0 && b.Upto == b.After {
		return w.idle(ctx)
	}
	err := w.transact(ctx, &b)
	if err == nil {
		err = w.c.replaced()
	}
	if err != nil {
		return w.classify(err)
	}
	w.pos, w.seq = b.Upto, b.LastSeq(w.seq)
	w.foreign.Add(w.found)
	w.defs.settle()
	fault.Hit(fault.WriteCommitted)
	return nil
}

// classify names what went wrong.
func (w *Writer) classify(err error) error {
	var moved *replacedError
	var refused *waybill.Refusal
	var gap *waybill.GapError
	var differs *disagreement
	switch {
	case errors.As(err, &moved):
		return w.gap(moved.Error(), "start the pipeline again: it then goes on from what the file that is there now holds, or says what is missing")
	case errors.As(err, &refused), errors.As(err, &gap), errors.As(err, &differs), errors.Is(err, waybill.ErrFenced):
		return err
	case missingTable(err, "waybill_position"):
		return w.gap("the target has lost its table waybill_position", "restore it, or drop the pipeline and start anew")
	case w.c == nil || waybill.Transient(err):
		return err
	}
	wrapped := w.c.wrap("write to", err)
	switch primary(err) {
	case lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB, lib.SQLITE_CANTOPEN:
		w.disconnect() // nothing that this connection remembers is worth keeping
	}
	return wrapped
}

func (w *Writer) gap(reason, remedy string) error {
	return &waybill.GapError{Stream: w.stream, Reason: reason, Remedy: remedy}
}

// reconnect makes sure that there is a connection, to the file that is at the path now. Where
// the last commit gave no answer it finds out, and tells whether b is what was committed.
func (w *Writer) reconnect(ctx context.Context, b *waybill.Batch) (done bool, err error) {
	if w.c == nil {
		if err := w.open(ctx); err != nil {
			return false, err
		}
	} else if err := w.c.replaced(); err != nil {
		return false, w.classify(err)
	}
	if w.doubt == nil {
		return false, nil
	}
	return w.settle(ctx, b)
}

// settle reads back what became of the batch in doubt. The connection that tried it is
// closed, so it cannot be committed any more, and whatever shows now is final.
func (w *Writer) settle(ctx context.Context, b *waybill.Batch) (done bool, err error) {
	pos, epoch, err := w.held(ctx)
	if err != nil {
		return false, w.classify(err)
	}
	doubt := w.doubt
	switch {
	case epoch == w.epoch && pos == doubt.Upto:
		w.log.Info("a commit without answer had succeeded", "stream", w.stream)
		foreign, err := w.c.number(ctx, "SELECT foreign_writes FROM waybill_position WHERE stream = ?", w.stream)
		if err != nil {
			return false, w.classify(err)
		}
		w.foreign.Store(uint64(foreign))
		w.found = 0
		w.pos, w.seq, w.doubt = doubt.Upto, doubt.LastSeq(w.seq), nil
		return b.After == doubt.After && b.Upto == doubt.Upto, nil
	case epoch == w.epoch && pos == doubt.After:
		w.doubt = nil
		return false, nil
	}
	return false, fmt.Errorf("write stream %s: %w", w.stream, waybill.ErrFenced)
}

// held is what the target says about the stream now.
func (w *Writer) held(ctx context.Context) (waybill.Position, int64, error) {
	r, err := w.c.row(ctx, "SELECT position, epoch FROM waybill_position WHERE stream = ?", w.stream)
	if errors.Is(err, errNoRow) {
		return "", 0, w.gap("the target does not know the stream any more", "it was dropped there, or the file was overwritten: drop the pipeline and start anew")
	}
	if err != nil {
		return "", 0, err
	}
	epoch, _ := r[1].(int64)
	return waybill.Position(str(r[0])), epoch, nil
}

// idle only proves that the stream is still ours.
func (w *Writer) idle(ctx context.Context) error {
	if err := w.mine(ctx, w.pos); err != nil {
		return w.classify(err)
	}
	return nil
}

// mine fails unless the target holds the stream at this position, under our epoch.
func (w *Writer) mine(ctx context.Context, after waybill.Position) error {
	pos, epoch, err := w.held(ctx)
	switch {
	case err != nil:
		return err
	case epoch != w.epoch || pos != after:
		return fmt.Errorf("write stream %s: %w", w.stream, waybill.ErrFenced)
	}
	return nil
}

// Drop forgets the stream.
func (w *Writer) Drop(ctx context.Context, stream string) error {
	return withConn(ctx, w.opt.Path, func(c *conn) error {
		return c.wrap("drop the stream from", c.write(ctx, func(ctx context.Context) error {
			if err := forget(ctx, c, "waybill_lease", stream); err != nil {
				return err
			}
			return forget(ctx, c, "waybill_position", stream)
		}))
	})
}

// ForeignWrites counts the captured changes that found the target other than the stream had left
// it; see waybill.ForeignWrites.
func (w *Writer) ForeignWrites() uint64 { return w.foreign.Load() }

// Seq is the number of the last action that the target holds, valid after Resume.
func (w *Writer) Seq() uint64 { return w.seq }

// Close gives the lease back; it waits at most about two seconds for the application to let
// go of the write lock.
func (w *Writer) Close() error {
	w.stopRenewing()
	if w.c == nil {
		w.epoch = 0
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeFor)
	defer cancel()
	if w.epoch != 0 && w.doubt == nil && w.c.replaced() == nil {
		if err := w.c.write(ctx, w.giveBack); err != nil {
			w.log.Warn("the lease could not be given back and runs out by itself", "stream", w.stream, "error", err)
		}
	}
	w.disconnect()
	w.epoch = 0
	return nil
}

// Claims are the target's part in the pipeline's promise.
func (w *Writer) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the target keeps the position in the SQLite transaction that writes the data, synced to disk before the source hears of it"},
		{Property: waybill.Once, Holds: true, Because: "the position moves by compare-and-swap in the data's transaction, so no action takes effect twice, whatever is repeated"},
		{Property: waybill.Whole, Holds: true, Because: "all changes of an action are committed in one SQLite transaction"},
		{Property: waybill.Ordered, Holds: true, Because: "changes are executed one by one in the order of the source, and a second engine is fenced off by its epoch"},
	}
}

// holder is this engine as others see it in waybill_lease.
func (w *Writer) holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if w.opt.Owner == "" {
		return fmt.Sprintf("process %d on %s", os.Getpid(), host)
	}
	return fmt.Sprintf("engine %s, process %d on %s", w.opt.Owner, os.Getpid(), host)
}

var (
	_ waybill.Writer        = (*Writer)(nil)
	_ waybill.Dropper       = (*Writer)(nil)
	_ waybill.Checker       = (*Writer)(nil)
	_ waybill.Claimant      = (*Writer)(nil)
	_ waybill.ForeignWrites = (*Writer)(nil)
)
