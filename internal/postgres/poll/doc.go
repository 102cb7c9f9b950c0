// Package poll reads actions from the outbox of a PostgreSQL database by polling.
//
// # The outbox
//
// An application calls waybill.emit inside its own transaction; outbox.sql is all there is in
// the database. What all calls of one transaction wrote is one action: its ID is drawn by the
// first call, its place in the order at commit.
//
// The reader polls. Each poll is one statement and so one snapshot, and takes the window between
// the last snapshot and this one: what is visible now and was not then. That is every
// transaction above the old snapshot's end, and those that were running in it; both are found
// by index, so that a poll costs the same however much is retained, and however long a
// transaction is held open, which delays only itself. (PgQ, the queue of Skype's SkyTools,
// showed that reading between snapshots misses nothing.) No NOTIFY is used: it would
// serialise the application's commits.
//
// Within a window transactions come in the order of a sequence drawn by a deferred trigger
// while they commit. A transaction that waited for a lock of another draws after it, because
// locks are given back only after the commit. Across windows the order holds anyway: who
// waited was not visible yet.
//
// What can still invert the order of two transactions in one window is work done between a
// transaction's draw and its commit:
//
//   - SET CONSTRAINTS ALL IMMEDIATE draws at once. A later call of emit draws again and the last
//     draw counts, so the order holds for an application that emits after its last change. It
//     does not hold for changes made between the last emit and the commit.
//   - A deferred trigger of the application's own that changes rows, and was queued after the
//     outbox's, runs after the draw.
//
// # The position
//
// A Position names the source (system identifier and database), its timeline, the snapshots
// at both ends of the window, the place in it, and number, ID and transaction of the last
// action. Snapshots in a position are cut down to the highest transaction that emitted
// something and is on disk: the server may use higher numbers a second time after a crash.
//
// Open refuses with a gap where the source is another one, is on a lower timeline, has not
// come as far as the position, has seen more acknowledged than the position holds, or does
// not have exactly the actions between what was acknowledged and the position. A server that
// was promoted passes if it has all of that. An upgrade with pg_upgrade, and a dump and restore,
// make a new source: let the pipeline catch up before, and start over after.
//
// # States and failures of the reader
//
//		closed ──Open──► idle ──poll finds a window──► in a window ──its end──► idle
//		   ▲               │ any error                     │
//		   └───────────────┴───────────────────────────────┘
//
//	  - An error in Next closes the connection; Open at the last Upto goes on, in the middle of a
//	    window too: the window's end is part of the position.
//	  - A window is handed on only when it is on the source's disk. The reader compares the
//	    write-ahead log's flushed and inserted positions and, where the one is behind, commits a
//	    record of its own, which waits for the disk (transactions with synchronous_commit off can
//	    be seen before).
//	  - A row that is no list of changes (somebody wrote past waybill.emit) ends the stream in
//	    front of its action with a *waybill.Refusal, each time again.
//	  - The acknowledgement is written at most once a second and by Close. After a crash it is
//	    behind the target; Suppressed then counts what need not be sent again.
//	  - The consumer's row is looked at in every poll: where it was dropped meanwhile, rows may
//	    have been purged, and that is a gap.
//
// # Purging
//
// Rows are never deleted, so nothing bloats while an old snapshot is held. The outbox has two
// halves; when the one that is written has grown to 8 MiB, or is 10 s old, and the other is empty,
// they change places. The one that is not written is truncated once every consumer has all of it:
// that is looked at by index, then whether anybody uses it, then it is locked with
// lock_timeout 20 ms and looked at again. Who gets in the way wins, and the purge waits for
// another time. A transaction that began under the old arrangement may write to either half
// at any time. While there are no consumers nothing is purged.
//
// # Privileges
//
// waybill.emit runs with the rights of its owner, with a fixed search_path. An application's
// role needs usage on schema waybill and execute on waybill.emit(text, jsonb, text), and no
// right on any table, so that it cannot tamper with the outbox. Nothing is granted to PUBLIC. A
// reader's role that does not own the outbox needs what Check prints.
package poll
