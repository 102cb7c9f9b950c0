// Package sqlite makes a SQLite file a source of actions (Outbox) and a target of them
// (Writer). Both work on the same file too.
//
// # Source
//
// An application inserts into waybill_outbox inside its own transactions; rows that carry one
// action ID are one action. Promise: every committed action is handed on once, whole, in the
// order of commits, with the same ID and number on every read, and none that a power failure
// could still take back. It rests on five facts:
//
//   - SQLite has one writer at a time and n is AUTOINCREMENT, so the order of n is the order
//     of commits, and n has no holes: what is rolled back returns its number. A hole is a
//     loss, and stops the stream.
//   - A trigger refuses rows that no reader could make an action of, an n that the
//     application chose, an action whose rows do not follow each other, and one that is
//     acknowledged already. A trigger cannot see transactions: a row that comes between
//     reading and acknowledgement is refused by the reader, until its changes are [].
//   - One statement reads a batch, so it sees one snapshot.
//   - The -wal file is synced after reading and before handing on. What is no longer in it
//     was synced when SQLite moved it to the database file (unless the application runs with
//     synchronous=OFF, which gives that up for its own data too).
//   - The file carries a random id, waybill_consumer keeps the last acknowledged action, and
//     Open compares both with the position; the row of the last action handed on is
//     compared again with every read. A restored, replaced or copied file is a gap.
//
// Reading: PRAGMA data_version tells cheaply whether anybody committed. It is asked every
// MaxDelay while actions come, more and more seldom, down to ten times a second, while
// none do, and at once when Head is called.
//
// Acknowledgements are written about once a second, by a goroutine that lives from Open to
// Close, and by Close. After each, rows that every registered consumer has are removed, at most
// 1,000 in a transaction and with pauses in between, so that the application waits for
// milliseconds at most. Without consumers nothing is removed.
//
// # Target
//
// Promise: an action is in the target whole or not at all, once, after those before it, and
// on disk before Write returns. One IMMEDIATE transaction holds a batch: its changes one by
// one in order, then the compare-and-swap of (position, epoch) in waybill_position, then the
// commit, with synchronous=EXTRA.
//
// Foreign keys are enforced (foreign_keys=on). Immediate ones are checked change by change, so
// that a refusal names the change. Where one does not hold, the batch is tried once more with
// all keys deferred, so the rows of one action may come in any order, except that
// RESTRICT alone stops a batch at once. SQLite would check deferred ones at the commit without
// naming anything, so they are looked at after every action.
//
// Values go by the column's declared affinity and are never narrowed: a number is stored as an
// integer of 64 bits or as the float whose shortest decimal it is; otherwise as text where the
// column leaves text alone, or it is refused. Text that SQLite would turn into another number is
// refused as well. true and false are 1 and 0; text for BLOB columns is base64 or \x and
// hexadecimal digits; objects and arrays are stored as their JSON text.
//
// Captured changes (those with a Schema) are facts: an insert that finds the row overwrites it, an
// update that finds none makes it where it carries a whole row, a delete that finds none does nothing,
// and each of these is counted in waybill_position.foreign_writes. Of rows without a key, one of the
// equal ones is changed. A truncate is DELETE FROM, those tables first that refer to others.
//
// # Types of PostgreSQL
//
// A table that is made here (TargetOptions.Create) declares its columns so that every value of the
// source's type is kept exactly:
//
//	smallint, integer, bigint, oid    INTEGER, so xid and cid
//	real, double precision            REAL; NaN, Infinity and -Infinity as text; -0 becomes 0
//	numeric(p,s), p at most 15        NUMERIC(p,s): the number, without zeros at its end; s and p-s at most 300
//	numeric with more digits or any   TEXT, the digits as they are
//	boolean                           BOOLEAN, 1 or 0
//	bytea                             BLOB
//	json, jsonb                       TEXT, the document as it is written; the document null is the text null, and not NULL
//	timestamp with time zone          TEXT, RFC 3339 in UTC with microseconds, or as PostgreSQL shows it
//	                                  where that has no form for it (infinity, BC, years past 9999)
//	arrays                            TEXT, a JSON array, or as PostgreSQL shows it where that would not
//	                                  say all (lower bounds, dimensions of json arrays)
//	anything else                     TEXT, as PostgreSQL shows it
//
// A domain is declared as the type under it. Tables that are there may be declared otherwise: then the
// rules for values above hold, except that a BLOB column takes bytea, numbers and booleans only.
//
// Tables and columns are made in the transaction of the batch that needs them, so a batch that is
// refused, or killed, leaves no trace. Foreign keys are made where the table that they point at is
// there. A schema that lacks a column which an earlier one had in this run, or retypes one, and a table
// that cannot hold all that the source's type can, stop the stream with a permanent error
// (TargetOptions.Evolve).
//
// # States of a Writer
//
//	new ──Resume──► holding ──Write──► holding
//	                  │  ▲
//	   commit without │  │ the next Write reads back which it was
//	           answer ▼  │
//	                 in doubt
//	holding ──another engine's Resume──► fenced (every Write: ErrFenced) ──Resume──► holding
//
// The lease (waybill_lease) is renewed within batches, or by a goroutine while there are none.
// It makes a second engine wait; what keeps the data right is the epoch.
//
// # What happens at each failure
//
//   - The file is locked (SQLITE_BUSY): transient. Reading is not affected by locks.
//   - Disk full, I/O error: transient, nothing changed. At a commit: the connection is closed,
//     so that nothing of it can happen later, and the position is read back.
//   - The file is missing, not a database, read-only, without WAL (source), without outbox: a
//     permanent error that says what to do. No file is ever created.
//   - The file is removed or replaced while it is open: a gap, noticed by comparing inodes
//     before and after every batch; nothing is read from or written to a dead file unnoticed.
//   - Rows are gone that were not read: a gap, unless this stream's acknowledgement covers them.
//     Then another engine took the stream while this one was halted: ErrFenced.
//   - The target refuses a change: *waybill.Refusal with entity and key; nothing changed.
//   - An engine frozen inside a transaction holds SQLite's only write lock until it goes on
//     or is killed; its successor waits (transient errors). Nobody else can end it.
package sqlite
