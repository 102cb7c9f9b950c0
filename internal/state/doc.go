// Package state keeps what belongs to one engine alone: its identity, and which of its streams
// are paused.
//
// # Promise
//
// An engine that restarts on its state directory has the identity that it had before, and
// no two running engines use one identity. A target trusts that: it hands a stream at once to
// a worker that shows the identity of the one that held it, without waiting for the lease.
//
// A stream that was paused is paused for every engine on the directory, until it is resumed.
//
// # States
//
// The store is a SQLite file beside a lock file. Who holds the lock (flock, which ends with
// the process, however it ends) is the engine of this directory and may use ID as the owner of
// a lease. A second process on the directory opens without the lock: Locked is false, Owner is a
// value drawn for this process only, and all that it can do is stand by until leases run out. TryLock
// takes the lock once it is free.
//
// # Failures
//
//   - Killed at any moment: the lock is gone with the process; the file is SQLite's to recover.
//   - The file is lost or removed: a new identity is drawn; leases of the old one run out first.
//     Nothing is paused any more.
//   - The file was copied (a restored backup, a cloned directory): the inode kept inside differs
//     from the file's, and a new identity is drawn, so that the copy and the original never pass
//     for each other. Nothing else is lost by that than the quick takeover.
//   - The file was written by a newer version: Open fails and changes nothing.
//
// No position lives here: a SQL target keeps its own, with the data.
package state
