// Package fault holds the named places where the engine can be killed and the named ways
// in which it can be broken on purpose. Both exist only in a binary built with the tag
// "faults"; otherwise every function here is empty and costs nothing.
//
// WAYBILL_FAULTS is a comma-separated list:
//
//	kill:POINT[:N]     SIGKILL this process the Nth time it passes POINT (default 1)
//	stop:POINT[:N]     SIGSTOP this process there (a test continues it)
//	break:SWITCH       behave wrongly as SWITCH says
package fault

// Points are the durable steps of the engine, in the order in which a batch passes them.
// The kill sweep goes through all of them.
const (
	ResumeTaken    = "resume.taken"    // writer: the epoch was raised, committed
	OpenDone       = "open.done"       // reader: opened after a position
	ReadDone       = "read.done"       // pump: a batch was read, nothing written
	WriteBegun     = "write.begun"     // writer: transaction open, nothing in it
	WriteData      = "write.data"      // writer: first part of the data is in the transaction
	WritePosition  = "write.position"  // writer: data and position are in, not committed
	WriteCommitted = "write.committed" // writer: committed, the pump does not know
	AckBefore      = "ack.before"      // pump: written, not acknowledged
	AckDone        = "ack.done"        // reader: the acknowledgement is at the source
	PurgeBefore    = "purge.before"    // reader: about to remove relayed rows
	PurgeDone      = "purge.done"      // reader: relayed rows are gone
	LeaseRenewed   = "lease.renewed"   // writer: the lease was renewed
)

// Points lists every kill point.
func Points() []string {
	return []string{
		ResumeTaken, OpenDone, ReadDone, WriteBegun, WriteData, WritePosition, WriteCommitted,
		AckBefore, AckDone, PurgeBefore, PurgeDone, LeaseRenewed,
	}
}

// Switches are deliberate breakages; each proves that some test would notice.
const (
	AckEarly       = "ack-early"       // pump, reader of a log: acknowledge a batch before it is written
	PositionApart  = "position-apart"  // writer: commit the data, then the position in a transaction of its own
	PositionFirst  = "position-first"  // writer: commit the position, then the data
	SkipOnError    = "skip-on-error"   // pump: drop a refused action and go on
	SplitAction    = "split-action"    // writer: commit an action's changes in two transactions
	NoFence        = "no-fence"        // writer: move the position whatever epoch and position it has
	OrderByID      = "order-by-id"     // reader: order by insertion, not by commit
	CursorByID     = "cursor-by-id"    // reader: resume after the highest id seen
	RetryUnknown   = "retry-unknown"   // writer: take an unknown commit for a failed one
	PurgeUnacked   = "purge-unacked"   // reader: remove rows that not every consumer has
	NoFlush        = "no-flush"        // reader: hand on what the source has not flushed
	IgnoreIdentity = "ignore-identity" // reader: open on any source
)

// Switches lists every breakage.
func Switches() []string {
	return []string{
		AckEarly, PositionApart, PositionFirst, SkipOnError, SplitAction, NoFence, OrderByID,
		CursorByID, RetryUnknown, PurgeUnacked, NoFlush, IgnoreIdentity,
	}
}
