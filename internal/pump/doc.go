// Package pump holds the one loop that moves batches from a Reader to a Writer, and its
// decorators.
//
// # Promise
//
// Every action that the reader yields is written once, in order, and only in whole batches;
// a batch is acknowledged to the source after the writer has it durably, never before. The
// pump itself skips nothing: it ends with an error instead.
//
// # States
//
//	starting ──► running ◄──► waiting    a transient error: tried again with backoff, in order;
//	   │            │                     no room at the target (ErrFull): about every second
//	   │            │
//	   │            ├──► standby         another engine has the stream; taken back when its lease ends
//	   │            ├──► paused          asked for; lease and reader stay, nothing is written or acked
//	   │            ├──► done            --until-caught-up reached what the source held at the start
//	   │            ├──► stopped         the context ended; the write in progress was finished
//	   └────────────┴──► failed          a gap, a refusal, a permanent error
//
// A pause is asked for at the Gate, which stands before each attempt to write: a write under way
// ends first, and one that keeps failing is not tried again until the gate opens. Pausing is
// remembered by who owns the gate, not here. Under --until-caught-up a closed gate with
// actions left to write is an error (ErrPaused): nobody would open it.
//
// # What happens when something fails
//
//   - The source fails: the reader is closed and opened again after the last batch that it
//     handed on; what was read already goes on being written.
//   - The target fails: the same batch is written again. The writer reads back what an
//     unknown commit did before it says that nothing was changed.
//   - The engine dies: the next one starts at the position that the target holds. What was
//     read but not written is read again; what was written but not acknowledged is not.
//   - The target refuses an action: those before it in the batch are written, then the
//     pump ends with the Refusal. The position stands right before the refused action.
//   - Another engine takes the stream: whatever this one still tries has no effect
//     (ErrFenced); it stands by. A gap in mid-stream may be that too (the other one carried on and
//     the source forgot): the stream is taken again first, and only a gap that is still there ends it.
//   - An acknowledgement fails: it is logged; the next one covers it.
package pump
