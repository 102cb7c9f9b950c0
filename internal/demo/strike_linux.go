package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	aimFor   = 2000 * time.Millisecond // then the kill comes anyway
	aimEvery = 100 * time.Microsecond
	// The -shm file ("WAL-mode File Format", section 2): the byte on which SQLite holds a POSIX
	// lock during a write transaction, and where it counts the transactions committed.
	walWriteLock  = 120
	walChangeAt   = 8
	walChangeSize = 4
	// Where JetStream stages batches, below its directory.
	stagedBatches = "jetstream/*/streams/" + queueStream + "/batches/*"
)

// childAttr has the kernel kill the child when the demo dies, and keeps Ctrl-C on the
// terminal to the demo, which then stops the child itself.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// striker kills engines at moments that matter.
type striker struct {
	crm   string // the file
	queue string // the directory
	shm   *os.File
}

func newStriker(crm, queue string) *striker { return &striker{crm: crm, queue: queue} }

// strike kills the process, at the moment wanted if that comes, and reports whether it did:
// the process was frozen, the moment proved right, and it did not run again.
func (s *striker) strike(ctx context.Context, p *process, want moment) (hit bool, err error) {
	for end := time.Now().Add(aimFor); time.Now().Before(end) && !p.dead() && ctx.Err() == nil; {
		hit, err = s.aim(ctx, p, want)
		if hit {
			p.kill()
			return true, nil
		}
		_ = unix.Kill(p.pid(), unix.SIGCONT) // an error means that it has ended
		if err != nil {
			return false, err
		}
	}
	if p.dead() {
		return false, &engineError{p.complaint()}
	}
	p.kill()
	return false, ctx.Err()
}

// aim waits for the moment, freezes the process, and tells whether it stands at the moment.
func (s *striker) aim(ctx context.Context, p *process, want moment) (bool, error) {
	if want == inQueueWrite {
		return s.queueWrite(ctx, p)
	}
	before, begins, err := s.awaitTransaction(ctx, p)
	switch {
	case err != nil:
		return false, err
	case want == inTransaction:
		return s.inside(p)
	case begins:
		return s.afterCommit(p, before)
	}
	return false, nil
}

// queueWrite freezes a process that has begun to write a batch into the queue, and tells
// whether it was still, or again, at that: JetStream stages a batch in a directory of its own,
// and removes that before it acknowledges the batch.
func (s *striker) queueWrite(ctx context.Context, p *process) (bool, error) {
	for end := time.Now().Add(aimFor / 5); time.Now().Before(end) && !p.dead() && ctx.Err() == nil; {
		if staged, err := s.staged(); err != nil {
			return false, err
		} else if staged {
			if !freeze(p.pid()) {
				return false, nil
			}
			return s.staged()
		}
		time.Sleep(aimEvery)
	}
	return false, nil
}

// staged reports whether a batch is on its way into the queue.
func (s *striker) staged() (bool, error) {
	dirs, err := filepath.Glob(filepath.Join(s.queue, stagedBatches))
	if err != nil {
		return false, fmt.Errorf("look for batches in %s: %w", s.queue, err)
	}
	return len(dirs) > 0, nil
}

// awaitTransaction returns true when the process, after a rest, is in its first transaction,
// and the count of commits before that; false if that does not come within a while.
func (s *striker) awaitTransaction(ctx context.Context, p *process) (before uint32, begins bool, err error) {
	const rested = 3 // looks in a row that found it resting, with nothing committed between them
	rest := 0
	for end := time.Now().Add(aimFor / 5); time.Now().Before(end) && !p.dead() && ctx.Err() == nil; {
		holds, err := s.writes(p.pid())
		if err != nil {
			return 0, false, err
		}
		now, err := s.commits() // after the lock: it shows what the holder had committed by then
		switch {
		case err != nil:
			return 0, false, err
		case now != before:
			before, rest = now, 0
		case !holds:
			rest++
		case rest >= rested:
			return before, true, nil
		default:
			rest = 0
		}
		time.Sleep(aimEvery)
	}
	return 0, false, nil
}

// inside freezes a process that writes, and tells whether it was still, or again, in the
// middle of a transaction.
func (s *striker) inside(p *process) (bool, error) {
	time.Sleep(rand.N(time.Millisecond << rand.N(6))) //nolint:gosec // spreads the strikes over short and long transactions
	if !freeze(p.pid()) {
		return false, nil
	}
	return s.writes(p.pid())
}

// afterCommit freezes a process that writes once it has committed, and tells whether it
// committed just one transaction.
func (s *striker) afterCommit(p *process, before uint32) (_ bool, err error) {
	now, spin := before, time.Now().Add(aimFor/100)
	for end := time.Now().Add(aimFor / 5); now == before && time.Now().Before(end) && !p.dead(); {
		if time.Now().After(spin) { // a long transaction
			time.Sleep(aimEvery / 4)
		}
		if now, err = s.commits(); err != nil {
			return false, err
		}
	}
	if !freeze(p.pid()) {
		return false, nil
	}
	now, err = s.commits()
	return now == before+1, err
}

// commits counts the transactions that were committed to the CRM; the count wraps around.
func (s *striker) commits() (uint32, error) {
	if s.shm == nil { // nobody has the CRM open
		return 0, nil
	}
	b := make([]byte, walChangeSize)
	if _, err := s.shm.ReadAt(b, walChangeAt); errors.Is(err, io.EOF) { // it was made just now
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("read the CRM's lock file: %w", err)
	}
	return binary.NativeEndian.Uint32(b), nil
}

// writes asks the kernel who holds the write lock of the CRM's write-ahead log; nobody is
// disturbed by the question.
func (s *striker) writes(pid int) (bool, error) {
	if err := s.open(); err != nil || s.shm == nil {
		return false, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: walWriteLock, Len: 1}
	if err := unix.FcntlFlock(s.shm.Fd(), unix.F_GETLK, &lock); err != nil {
		return false, fmt.Errorf("ask who holds the lock of %s: %w", s.shm.Name(), err)
	}
	return lock.Type != unix.F_UNLCK && int(lock.Pid) == pid, nil
}

// open opens the -shm file that is there now. The former one is closed only once it is gone:
// closing a file drops all locks that this process, its SQLite included, has on it.
func (s *striker) open() error {
	now, err := os.Stat(s.crm + "-shm")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the CRM's lock file: %w", err)
	}
	if s.shm != nil {
		if had, err := s.shm.Stat(); err == nil && os.SameFile(had, now) {
			return nil
		}
		if err := s.shm.Close(); err != nil {
			return fmt.Errorf("close the CRM's former lock file: %w", err)
		}
		s.shm = nil
	}
	f, err := os.Open(s.crm + "-shm")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the CRM's lock file: %w", err)
	}
	if err == nil {
		s.shm = f
	}
	return nil
}

// close is called when this process has no connection to the CRM any more.
func (s *striker) close() {
	if s.shm != nil {
		_ = s.shm.Close() // it was only read
	}
}

// freeze stops the process and waits until all its threads stand still.
func freeze(pid int) bool {
	if unix.Kill(pid, unix.SIGSTOP) != nil {
		return false
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG, nil)
		if err == nil && info.Signo == int32(unix.SIGCHLD) {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		time.Sleep(20 * time.Microsecond)
	}
	return false
}
