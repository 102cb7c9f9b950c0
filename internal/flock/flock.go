// Package flock takes locks on files (flock(2)) that the operating system gives back when the
// process that holds them is gone, however it ended.
package flock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Kind is what a lock leaves to others.
type Kind int

const (
	// Exclusive leaves them nothing.
	Exclusive Kind = unix.LOCK_EX
	// Shared leaves them shared locks.
	Shared Kind = unix.LOCK_SH
)

// Try locks f without waiting. False without an error: another process, or another open file
// of this one, has it. Closing f gives the lock back.
func Try(f *os.File, kind Kind) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), int(kind)|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}
