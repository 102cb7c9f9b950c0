package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/flock"
)

// lockName is the file in the directory of a store whose flock its one process holds. It is never
// removed: whoever removed it could lock a file that others no longer see.
const lockName = "lock"

// holder is what the lock file says about the process that has it.
type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

// takeLock takes dir for this process. waybill.ErrHeld: another has it; the text names it.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the directory that the user names
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	switch free, err := flock.Try(f, flock.Exclusive); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s (a file system without flock cannot hold a queue): %w", path, err), f.Close())
	case !free:
		return nil, errors.Join(heldBy(dir, f), f.Close())
	}
	if err := sign(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock file %s: %w", path, err), f.Close())
	}
	return f, nil
}

// sign writes who has the lock. A full disk does not keep a process from taking it: the
// lock is the flock, the text is for people.
func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	text, err := json.Marshal(holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err = f.WriteAt(append(text, '\n'), 0); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}

// heldBy describes the process that has the lock on dir, as far as it can be known from here.
func heldBy(dir string, f *os.File) error {
	var h holder
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil || h.PID <= 0 {
		return fmt.Errorf("%w: another process has the queue directory %s", waybill.ErrHeld, dir)
	}
	who := fmt.Sprintf("process %d on %s has the queue directory %s since %s", h.PID, h.Host, dir, h.Since.Format(time.RFC3339))
	host, _ := os.Hostname()
	switch {
	case h.Host != host:
	case h.PID == os.Getpid():
		who += "; that is this process: it names one directory in two ways"
	case frozen(h.PID):
		who += fmt.Sprintf("; it is stopped (frozen) and keeps the directory until it is gone: continue it (kill -CONT %d) or end it (kill -KILL %d)", h.PID, h.PID)
	}
	return fmt.Errorf("%w: %s", waybill.ErrHeld, who)
}

// frozen reports whether a process of this host is stopped by a signal or a debugger. Where
// that cannot be seen it says no.
func frozen(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// "pid (name) state …"; the name may hold spaces and parentheses.
	_, rest, ok := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ") ")
	return ok && rest != "" && (rest[0] == 'T' || rest[0] == 't')
}
