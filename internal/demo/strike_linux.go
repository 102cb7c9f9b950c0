package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	aimFor   = 1500 * time.Millisecond // then the kill comes anyway
	aimEvery = 100 * time.Microsecond
	// walWriteLock is the byte of the -shm file on which SQLite holds a POSIX lock during a
	// write transaction: WAL_WRITE_LOCK of "WAL-mode File Format", section 2.3.
	walWriteLock = 120
)

// childAttr has the kernel kill the child when the demo dies, and keeps Ctrl-C on the
// terminal to the demo, which then stops the child itself.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// striker kills engines in the middle of a write transaction at the CRM.
type striker struct {
	crm string
	shm *os.File
}

func newStriker(crm string) *striker { return &striker{crm: crm} }

// strike kills the process and reports whether that was for certain inside a write
// transaction: it was frozen, held the lock, and did not run again.
func (s *striker) strike(ctx context.Context, p *process) (inside bool, err error) {
	for end := time.Now().Add(aimFor); time.Now().Before(end) && !p.dead() && ctx.Err() == nil; {
		holds, err := s.writes(p.pid())
		if err != nil {
			return false, err
		}
		if !holds {
			time.Sleep(aimEvery)
			continue
		}
		time.Sleep(rand.N(time.Millisecond)) //nolint:gosec // spreads the strikes over the transaction
		if freeze(p.pid()) {
			if holds, err = s.writes(p.pid()); err == nil && holds {
				p.kill()
				return true, nil
			}
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
