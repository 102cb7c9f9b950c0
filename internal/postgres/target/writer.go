package target

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// Bounds of the writer.
const (
	defaultLease  = 10 * time.Second
	defaultSchema = "public"
	// closePatience bounds how long Close tries to give the lease back.
	closePatience = 3 * time.Second
	// lockPatience is how long the writer waits for the row of its stream before it ends the
	// backend that has it locked.
	lockPatience = 2 * time.Second
	// idlePatience is how long the server lets this session hold locks while nothing comes
	// from it: a worker that was suspended in mid-transaction gets out of the way.
	idlePatience = time.Minute
)

// Options say where a Writer writes and on whose behalf.
type Options struct {
	// URL is a PostgreSQL connection string.
	URL string
	// Schema is where the entities' tables are. Empty: the schema that the entity names
	// ("sales.customer"), else public. Set, it wins over what the entity names.
	Schema string
	// Owner identifies the engine's state directory, whose file lock the caller holds: a
	// stream held under the same owner is taken over at once. Empty: nobody.
	Owner string
	// Lease is how long the stream stays taken after the last sign of life; default 10 s.
	Lease time.Duration
	// Define tells whether an entity's table is made where it is missing, and whether it follows the
	// source: then columns are added that changes carry and the table lacks, and the stream stops where
	// a column was dropped or retyped at the source, or the table's cannot hold all of its values. The
	// entity "" stands for those of which nothing is known yet. Nil: neither.
	Define func(entity string) (create, evolve bool)
	// Describe tells what a table is to be like for a change that comes without a schema. Untyped, if not
	// empty, says that a column which the change carries has no type, and where to give it, in an
	// imperative clause. Nil: nobody knows.
	Describe func(c *waybill.Change) (s *waybill.Schema, untyped string)
	// Log may be nil.
	Log *slog.Logger
}

// Writer applies actions to tables of a PostgreSQL database and keeps the position in the
// same transactions. It implements waybill.Writer, Dropper, Checker, Claimant and
// ForeignWrites.
//
// What an action carries arrives exactly, or the action is refused: also where the server would
// round or cut a value, or a trigger or rule skips a row. One thing is left out: values for
// columns that the target generates (GENERATED ALWAYS AS … STORED), which it computes itself.
//
// Changes with a Schema are facts of the source: an insert overwrites the row it finds, a whole update
// inserts the one it does not find, and each such foreign write is counted with the position. They are
// applied by the strict statements first, and again in a form that counts where those fail. Two things
// are still refused: a row that a second unique key of a foreign row is in the way of, and an update
// that moves a row to a key where a foreign one is.
//
// A stream passes through these states:
//
//		idle ──Resume──► held ──Write──► held
//		                  │  ▲
//		    answer to the │  │ read back: the batch is there, or it is not
//		    commit is lost▼  │
//		                unknown ──another worker took the stream──► fenced ──Resume──► held
//
//	  - Held: a row of waybill.lease names this worker and is renewed on a connection of its
//	    own. Losing that connection, or the lease, changes nothing by itself: the
//	    compare-and-swap on (position, epoch) in each transaction is what decides. That connection
//	    also sees whether a write waits for another session's lock, which is logged; it waits for as
//	    long as that takes.
//	  - Unknown: the connection broke while a transaction was under way. The next step is to
//	    raise the epoch under the row's lock, so that a commit which is still on its way can
//	    not succeed any more, and to read the position.
//	  - Fenced: the position or the epoch is another one. Nothing of the batch is there.
type Writer struct {
	opts  Options
	log   *slog.Logger
	token string // this worker, in waybill.lease

	link    *targetLink // the write connection, nil if there is none
	schema  *targetSchema
	renewal *leaseRenewal

	stream string
	taken  bool              // Resume succeeded and no Close followed
	held   waybill.Position  // what the target holds, as far as known
	seq    uint64            // the last action in held
	epoch  int64             //
	doubt  *doubtfulCommit   // a transaction whose outcome is not known yet
	last   backendID         // the backend of the write connection before this one
	defs   *definitions      // of the schemas that changes bring
	plan   *applyPlan        // this and the next three are reused from batch to batch
	steps  []sentStep        //
	arrays []byte            //
	spare  []byte            // for when arrays is on its way
	halt   func(step string) // tests wait here; nil
	single uint64            // batches that were applied change by change

	backend atomic.Int32  // the process at the server that the write connection has, or had last
	foreign atomic.Uint64 // foreign writes, as the target knows them
	lenient int           // batches to come that expect foreign writes
	warned  time.Time     // when a foreign write was logged last
}

// doubtfulCommit is a batch whose commit was not answered.
type doubtfulCommit struct {
	after, upto waybill.Position
	upSeq       uint64
	cause       error
}

// NewWriter makes a writer; it connects in Resume.
func NewWriter(opts Options) *Writer {
	if opts.Lease <= 0 {
		opts.Lease = defaultLease
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Writer{opts: opts, log: log, token: rand.Text(), defs: newDefinitions()}
}

// Resume takes the stream: it creates what Waybill keeps at the target where that is missing,
// checks the lease, raises the epoch and starts renewing the lease.
func (w *Writer) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	w.stopRenewal()
	w.taken, w.doubt, w.stream, w.defs = false, nil, stream, newDefinitions()
	err := w.resume(ctx)
	if err != nil {
		w.disconnect()
		return "", err
	}
	w.taken = true
	w.startRenewal()
	return w.held, nil
}

func (w *Writer) resume(ctx context.Context) error {
	if w.link != nil && w.link.broken() {
		w.disconnect()
	}
	if w.link == nil {
		if err := w.dial(ctx); err != nil {
			return err
		}
	}
	if err := createTarget(ctx, w.link.conn); err != nil {
		return err
	}
	return w.take(ctx)
}

// Write applies the batch in one transaction. See waybill.Writer.
func (w *Writer) Write(ctx context.Context, b waybill.Batch) error {
	if !w.taken {
		return errors.New("write to PostgreSQL: the stream was not taken; Resume comes first")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write to PostgreSQL: %w", err)
	}
	if w.doubt != nil {
		asked := *w.doubt
		if err := w.settle(ctx); err != nil {
			return err
		}
		if b.After == asked.after && b.Upto == asked.upto && w.held == asked.upto {
			return nil
		}
	}
	if b.After != w.held {
		return &waybill.GapError{
			Stream: w.stream,
			Reason: fmt.Sprintf("the batch continues after position %q, the target holds %q", b.After, w.held),
		}
	}
	if err := b.CheckDense(w.stream, w.seq); err != nil {
		return err
	}
	if w.link == nil || w.link.broken() {
		if err := w.reconnect(ctx); err != nil {
			return err
		}
	}
	if err := w.apply(ctx, b); err != nil {
		return err
	}
	w.held, w.seq = b.Upto, b.LastSeq(w.seq)
	w.defs.settle()
	return nil
}

// Seq is the number of the last action that the target holds, valid after Resume.
func (w *Writer) Seq() uint64 { return w.seq }

// Close gives the lease back and disconnects. It does not wait long for a server that does
// not answer, nor calls that an error: the lease then runs out by itself.
func (w *Writer) Close() error {
	w.stopRenewal()
	var err error
	if w.taken {
		w.taken = false
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		// A broken connection has been told of, or the lease runs out unnoticed.
		if err = w.giveBack(ctx); waybill.Transient(err) {
			w.log.Debug("the lease runs out by itself", "stream", w.stream, "because", err)
			err = nil
		}
	}
	w.disconnect()
	return err
}

// Drop forgets the stream. It refuses while another worker holds it.
func (w *Writer) Drop(ctx context.Context, stream string) error {
	conn, err := server.Connect(ctx, w.opts.URL, server.Options{})
	if err != nil {
		return err
	}
	defer server.Close(conn)
	doing := "forget stream " + stream + " at the target"
	if there, err := targetExists(ctx, conn); err != nil || !there {
		return server.Classify(err, doing)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return server.Classify(err, doing)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	holder, err := readLease(ctx, tx, stream)
	if err != nil {
		return server.Classify(err, doing)
	}
	if holder.alive && !w.mine(holder) {
		return holder.heldError(stream)
	}
	for _, table := range []string{"lease", "position"} {
		if _, err := tx.Exec(ctx, "DELETE FROM waybill."+table+" WHERE stream = $1", stream); err != nil {
			return server.Classify(err, doing)
		}
	}
	return server.Classify(tx.Commit(ctx), doing)
}

// Claims says what writing into PostgreSQL contributes to a pipeline's promise.
func (w *Writer) Claims() []waybill.Claim {
	return []waybill.Claim{
		{Property: waybill.Complete, Holds: true, Because: "the target database keeps the number of the last action and refuses " +
			"a hole, and commits with its log flushed to disk before anything is acknowledged"},
		{Property: waybill.Once, Holds: true, Because: "the position is moved by compare-and-swap in the transaction that writes " +
			"the data, so what was applied once is never applied again, whatever restarts or takes over"},
		{Property: waybill.Whole, Holds: true, Because: "all changes of an action are committed in one transaction of the target database"},
		{Property: waybill.Ordered, Holds: true, Because: "actions are applied in source order by one worker at a time; merged " +
			"statements keep the order of changes to the same row"},
	}
}

var (
	_ waybill.Writer   = (*Writer)(nil)
	_ waybill.Dropper  = (*Writer)(nil)
	_ waybill.Checker  = (*Writer)(nil)
	_ waybill.Claimant = (*Writer)(nil)

	_ waybill.ForeignWrites = (*Writer)(nil)
)
