// Package wal reads actions from a PostgreSQL server's write-ahead log: logical replication with
// the plug-in pgoutput, protocol 1 to 4. One committed transaction is one action, whole, in the
// order of commits.
//
// # What is handed on
//
// An insert, update or delete of a published table is a change that carries the table's schema and
// values in the server's own encoding (binary where every published type can be read so, else text).
// The key is the replica identity's, or the primary key where that is full or nothing, or else all
// of the old row that is not null. A value that was not touched and that the log does not repeat
// (TOAST) is absent. A transaction that changed nothing that is published is no action; the position
// passes it.
//
// With Options.Outbox the reader takes the rows of waybill.outbox and transactional messages with
// the prefix waybill instead (a JSON list of changes, or {"name", "trace", "changes"}), so that the
// outbox is read in exact commit order.
//
// # The position
//
// A Position names the source (system identifier and database), its timeline, the end of the log
// that is done, and number, ID, transaction and commit of the last action. The slot is read from
// where it was confirmed; what the position covers is passed over, and its last action must be met
// there. Table waybill.slot at the source remembers from where the slot was made, and is written
// only then. Open refuses with a gap where the source is another one, the timeline was left before
// the position, the slot is gone, lost, made anew or ahead of the position, or where a stream
// without a position finds that its slot was confirmed already.
//
// Log that holds nothing for the stream is passed every 10 s, if it is 64 KiB or more, or when Head
// was asked for a place in it. An idle source and its target come to rest: Head is the end of the
// newest action then, and nothing is written to either.
//
// # States and failures of the reader
//
//		closed ──Open──► receiving ──Close──► closed
//		                     │ transient error: closed, Open at the last Upto goes on
//		                     └ any other: each Next says it again, until Close
//
//	  - Three goroutines belong to an open reader and end with it: one receives and decodes, ahead of
//	    Next by at most twice MaxBytes; one reports to the server, every 5 s and soon after an
//	    acknowledgement, also while Next is not called; one publishes new tables that match the
//	    patterns, each minute, and writes a heartbeat where the slot keeps much log (or purges the
//	    outbox).
//	  - A publication that leaves out tables or operations that are asked for stops the stream, at Open
//	    and, where tables were taken out of it, within a minute: what was changed there is not in the
//	    log. One that was dropped is a gap.
//	  - A transaction past 8 MiB goes to a file without a name in SpillDir; its changes can be read
//	    as often as wanted. One that is streamed before it is committed is kept by subtransaction,
//	    so that what was rolled back is left out.
//	  - A table that was renamed, or in which a column went while another came (perhaps one that was
//	    renamed), stops the stream once, in front of the action: opening it again says that the
//	    target was altered too. That is noticed while the table is read, not across a restart.
//	  - A slot that another session of the same stream holds is taken over: who opens has the lease at
//	    the target. A reader that lost its session and opens again may have been overtaken meanwhile: it
//	    says so (waybill.ErrFenced) where a session that is not its own holds the slot.
package wal
