// Package jetstream keeps streams of actions in NATS JetStream: a Writer that is also a
// Reader, and the server itself in this process.
//
// # Parts
//
//   - Server is a NATS server in this process, with JetStream in a directory that one process
//     has at a time. It listens only where it is asked to.
//   - Queue is one JetStream stream on it. Each Waybill stream that enters has one subject.
//   - Writer and Reader are the two facets of one subject.
//
// # What the store promises
//
// What was acknowledged is on disk: every publish is synced before its answer. An atomic batch is
// there as a whole or not at all, whatever kills the process. Nothing is removed that a registered
// consumer lacks, nor anything while there is no consumer, nor the last message of a subject, nor
// a schema.
//
// # States of a server
//
//	closed ── Start ──► running ── last Close ──► closed
//	                     │   ▲
//	    broken, no space │   │ broken, connect
//	                     ▼   │
//	                     down
//
// The directory is locked from the first Start to the last Close, also while down.
//
// # What happens when
//
//   - Another process has the directory: Start returns waybill.ErrHeld and names it, and says so
//     if it is frozen. A directory cannot be taken from a frozen process: it would write on.
//   - The disk is nearly full: room refuses before anything is written; the error is transient.
//   - A write fails nevertheless: the server's store refuses to write from then on. broken starts
//     the server anew; connections from before break, and sessions are opened again.
//   - The process is killed while a batch is being committed: the server completes the batch from
//     its staged copy when it starts. Where there is no room for that, it is not started. Where the
//     copy is lost, open removes the batch's beginning, which nobody acknowledged.
//   - The stream was removed, emptied, swapped, damaged or set back to an older copy: open returns a
//     gap. What it goes by is in streams.json beside the store (with what the consumers
//     have), the stream's own id, and what the server found damaged. A removed directory is a new one; then the
//     positions of source and target tell.
//   - max_bytes is reached: the server refuses the write, the writer waits. Sessions, reads and
//     retention go on.
//   - An acknowledgement is not written down before a kill: the consumer stands a little further
//     back in streams.json, and what it has already is kept a little longer.
//   - streams.json is missing: consumers are registered anew by their readers, and nothing is removed
//     before they had time to. It cannot be read: open says so and names the file.
//   - A client wants to hear or say what only the engine does (listen): the server denies it, and
//     answers go to subjects that are drawn for each connection. What a client has the server
//     publish is not denied: a message in a writer's subject is named with its remedy, a stream
//     that was changed or made is put back (see keeper.guard).
//
// # Writer and Reader
//
// One message is one action. What is written at once is an atomic batch whose last message
// carries the source's position; the first one names the message that it must follow, so that of
// two writers one is fenced. A write without an answer is read back before anything else: its last
// message says whose write it was.
//
//   - A large action goes in parts, several batches of them, of which only the last moves the
//     position. A failure on the way leaves parts; they are removed, the last one first, before
//     the next attempt, and a reader hands nothing on before the last part of one attempt is there.
//   - A batch that is too large for one write goes in several that each move the position. Tried
//     again after a failure, it goes on behind what is there.
//   - The reader fetches by direct get, and each time proves that the last message it handed on is
//     still there, unchanged: otherwise the queue was emptied or swapped, a gap. A hole in the
//     numbers of the actions or of the parts is a gap too.
//   - A message that cannot be read is refused with its number, never passed over.
package jetstream
