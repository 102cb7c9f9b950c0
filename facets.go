package waybill

import (
	"context"
	"time"
)

// Reader yields the committed actions of one stream, in order. One goroutine calls Open,
// Next and Close; Ack, Head and Reached may be called beside them from another.
// Errors for which Transient reports true may be tried again after Close and Open at the
// last Upto that was handed on; all others stop the stream.
type Reader interface {
	// Open starts after the position given (the zero Position: the oldest retained
	// action). It may be called again after Close. ErrGap: what follows the position can no
	// longer be had, or the source is not the one that the position came from.
	Open(ctx context.Context, after Position) error
	// Next blocks for the next batch until ctx ends. A batch may hold no action and only
	// move Upto. What it returns is on the source's disk. The changes of an action can be
	// iterated more than once until the batch is acknowledged.
	Next(ctx context.Context) (Batch, error)
	// Ack says that everything up to p is durable downstream, so that this consumer no
	// longer needs it. It may run beside Next, may be late or repeated, is never early. A
	// failed Ack loses nothing: a later one covers it.
	Ack(ctx context.Context, p Position) error
	// Head is a position at or past the newest action that is committed now. A call makes
	// Next return a batch that reaches it, without actions if there are none.
	Head(ctx context.Context) (Position, error)
	// Reached tells whether p is at or past head. Only the connector can compare.
	Reached(p, head Position) bool
	// Close releases what Open took; it is safe to call without Open, and twice.
	Close() error
}

// Writer applies whole actions, in order, and keeps the position with them. One goroutine
// uses a Writer.
type Writer interface {
	// Resume takes the stream for this worker, raising its epoch, and returns the position
	// up to which the target durably holds it. It may be called again, after an error too.
	// ErrHeld: another worker's lease is still alive.
	Resume(ctx context.Context, stream string) (Position, error)
	// Write applies b and moves the position from b.After to b.Upto in one step, or changes
	// nothing. After an unknown commit it reads back and tells which; a transient error
	// always means that nothing was changed and the same batch may be written again.
	// ErrFenced: another worker took the stream. *Refusal: the target will never take this
	// action as it is. ErrGap: b does not continue what the target holds.
	Write(ctx context.Context, b Batch) error
	// Close gives the lease back, so that another worker can take over at once.
	Close() error
}

// Backlog is an optional facet of a Reader: how much is waiting at the source.
type Backlog interface {
	// Backlog counts the actions after p, at most a bounded number of them (a count that
	// reached the bound is a lower bound), and tells the age of the oldest.
	Backlog(ctx context.Context, p Position) (actions int64, oldest time.Duration, err error)
}

// Bounded is an optional facet of a Backlog: the most that it counts, of rows at the source. A
// count that is no smaller is a lower bound.
type Bounded interface {
	BacklogBound() int64
}

// Retainer is an optional facet of a Reader whose source keeps its log for it.
type Retainer interface {
	// Retained looks at what the source keeps. It may be called beside Next.
	Retained(ctx context.Context) (Retained, error)
}

// Retained is what a source keeps in its log for one stream.
type Retained struct {
	// Slot is the name under which it does, and Status what the source says of it: PostgreSQL's
	// wal_status: reserved, extended, unreserved, lost.
	Slot, Status string
	// Active: somebody reads it now.
	Active bool
	// Bytes of log are kept; Unconfirmed of them are not confirmed by this stream yet.
	Bytes, Unconfirmed int64
	// Limit is from how many bytes on an alarm is due; 0: never.
	Limit int64
}

// ForeignWrites is an optional facet of a Writer: how many changes found the target other than the
// stream had left it (see Change.Schema), kept with the position. Valid after Resume, and safe to
// call beside the other methods.
type ForeignWrites interface {
	ForeignWrites() uint64
}

// Resumed is an optional facet of a Reader: how many actions Open found applied at the
// target though the source had not seen their acknowledgement. An at-least-once engine would
// have delivered them twice.
type Resumed interface {
	Suppressed() uint64
}

// Numbered is an optional facet of a Writer: the number of the last action that the target
// holds, valid after Resume, called by the goroutine that uses the Writer.
type Numbered interface {
	Seq() uint64
}

// Installer is an optional facet of a source whose schema Waybill can set up.
type Installer interface {
	// SQL is what Install runs, reviewable and idempotent.
	SQL() string
	// Install applies SQL and registers the streams as consumers.
	Install(ctx context.Context, streams ...string) error
	// Uninstall removes the streams' registrations, and the schema with the last of them.
	Uninstall(ctx context.Context, streams ...string) error
}

// Dropper is an optional facet of anything that remembers a stream: Drop forgets it. Dropping
// an unknown stream is no error.
type Dropper interface {
	Drop(ctx context.Context, stream string) error
}

// Checker is an optional facet: a part that can look at its prerequisites.
type Checker interface {
	// Check connects and reports what it finds, good and bad. An error means that it could
	// not look (unreachable, wrong password).
	Check(ctx context.Context, stream string) ([]Finding, error)
}

// Finding is one thing that Check looked at.
type Finding struct {
	// OK: as it should be. Otherwise the pipeline cannot run, or with Warn, runs worse.
	OK   bool
	Warn bool
	// What was looked at and found, a clause without full stop.
	What string
	// Fix is the statement or the action that mends it; empty where OK.
	Fix string
}

// Property is one of the four things that a pipeline may promise.
type Property string

// The properties in the order in which they are printed.
const (
	Complete Property = "complete" // nothing is lost
	Once     Property = "once"     // nothing takes effect twice
	Whole    Property = "whole"    // no observer sees part of an action
	Ordered  Property = "ordered"  // effects follow the source's commit order
)

// Claim is what one part of a pipeline says about one property. A pipeline promises the
// property if all its parts do.
type Claim struct {
	Property Property
	Holds    bool
	// Because is the reason, one sentence without full stop.
	Because string
}

// Claimant is a part that contributes to a pipeline's promise. Claims need no connection.
type Claimant interface {
	Claims() []Claim
}

// As finds the facet T of a part: of the part itself, or of what it decorates. A decorator that
// leaves facets alone tells what is within by a method Unwrap() any.
func As[T any](part any) (T, bool) {
	for part != nil {
		if facet, ok := part.(T); ok {
			return facet, true
		}
		decorator, ok := part.(interface{ Unwrap() any })
		if !ok {
			break
		}
		part = decorator.Unwrap()
	}
	var none T
	return none, false
}
