// Package demo runs a live integration, breaks it on purpose, and judges what is left.
//
// # What runs
//
// A customer master (master.db) in which clerks create, change, move, delete and re-create
// customers, writing each business action to the outbox in the same transaction; an engine, a
// process of its own, that carries the actions into a queue on disk (queue), and from there to
// a CRM (crm.db) and a warehouse (warehouse.db), each at its own pace; observers that look at
// these two all the time; a gauge that reads from the engine's status how full the queue is;
// and a director that kills the engine and takes the CRM away.
//
// # Promise
//
// The verdict is worth something because it shares no code with the engine: the databases are
// compared by plain SQL, with tables that make each kind of damage visible.
//
//   - Every action writes a journal row as its first change and a receipt as its last one. One
//     without the other is a torn action. So is a customer who does not agree with the
//     phones and addresses that belong to it.
//   - A trigger at each target notes every arrival of a journal row and of a receipt, also
//     where the row exists already: an action that is applied twice is noted twice, though its
//     rows look as if it had been applied once.
//   - Action numbers are drawn in commit order at the master, arrivals in apply order at a target.
//   - Some transactions write everything and are then rolled back; none of it may arrive.
//   - When all is over, a NATS server and client as anybody has them read the queue: nothing may be in it
//     that a target lacks or that the master does not have, and its last message is the
//     master's last action.
//
// While the CRM is away, the queue must fill, the warehouse must get what is written, and the
// clerks' saves must go on; a demo in which one of these waited has not passed. The queue that
// an engine finds after a kill must not hold less than before.
//
// Kills strike where it hurts, in turn: in the middle of a write transaction at the CRM,
// right after one was committed, in the middle of a write to the queue, and with the queue
// full. Those aimed at a moment count as such only if it was certain: the engine is frozen
// (SIGSTOP), SQLite's own lock and counter of commits, or JetStream's directory for batches
// under way, say where it stands, and then it is killed (SIGKILL) without having run again.
// This needs Linux; elsewhere kills strike anywhere.
//
// # Processes
//
// Run owns every process and goroutine that it starts and waits for all of them. On Linux the
// kernel kills the engine when the demo itself is killed.
package demo
