package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the driver

	"github.com/waybill-data/waybill/internal/flock"
)

// Format is the version of the store's format that this program writes.
const Format = 1

// openTimeout bounds how long Open waits for another process that is writing the file.
const openTimeout = 10 * time.Second

// Store is an open state directory. Its methods may be called concurrently.
type Store struct {
	path string

	mu    sync.Mutex
	id    string
	owner string
	lock  *os.File // nil without the lock
	then  pausedThen
}

// Open opens the store at path, creating it (mode 0600) and its directory (0700) where they
// are missing, and takes the directory's lock if no other process has it. Errors: the place
// cannot be written, the file is no state store, or it has a newer format.
func Open(path string, log *slog.Logger) (*Store, error) {
	s, err := open(path, log)
	if err != nil {
		return nil, fmt.Errorf("open state store %s: %w", path, err)
	}
	return s, nil
}

func open(path string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create its directory (set state.sqlite.path to a place that can be written): %w", err)
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, lock: lock}
	if s.id, err = identity(path, lock != nil); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.owner = s.id
	if lock == nil {
		s.owner = uuid.NewString()
		log.Warn("another process uses this state directory; this one stands by until the leases of that one run out", "path", path)
	}
	return s, nil
}

// TryLock takes the directory's lock if it became free since Open, and reports whether this
// process has it now. ID and Owner may be other ones afterwards.
func (s *Store) TryLock() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return true, nil
	}
	lock, err := takeLock(s.path + ".lock")
	if err != nil || lock == nil {
		return false, err
	}
	id, err := identity(s.path, true)
	if err != nil {
		return false, errors.Join(fmt.Errorf("read state store %s: %w", s.path, err), lock.Close())
	}
	s.lock, s.id, s.owner = lock, id, id
	return true, nil
}

// ID is the engine's identity, the same after every restart on this directory.
func (s *Store) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Locked reports whether this process holds the directory's lock, and so may act as ID.
func (s *Store) Locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock != nil
}

// Owner is what to present as the owner of leases: ID for the holder of the lock, else a
// value that no other process has.
func (s *Store) Owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner
}

// Close gives the lock up. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close() // closing ends the flock
	s.lock = nil
	return err
}

// takeLock returns the locked file, or nil where another process has it. The file is never
// removed: whoever removed it could lock a file that others no longer see.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file (set state.sqlite.path to a place that can be written): %w", err)
	}
	switch free, err := flock.Try(f, flock.Exclusive); {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s (a file system without flock cannot hold the state store): %w", path, err), f.Close())
	case !free:
		return nil, f.Close()
	}
	return f, nil
}

// identity reads the engine's id, drawing one where there is none. Only the holder of the lock
// draws a new one for a copied file.
func identity(path string, locked bool) (string, error) {
	inode, err := ensureFile(path)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	db, err := openDB(path)
	if err != nil {
		return "", err
	}
	id, err := inTx(ctx, db, inode, locked)
	return id, errors.Join(err, db.Close())
}

// openDB opens a file that is there.
func openDB(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw&_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)&_txlock=immediate")
}

// ensureFile creates the file with its narrow mode before SQLite would create it with a
// wider one, and returns its inode.
func ensureFile(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", nil // no inodes here; copies are not recognised
	}
	return strconv.FormatUint(st.Ino, 10), nil
}

func inTx(ctx context.Context, db *sql.DB, inode string, locked bool) (string, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; after an error that error tells
	meta, err := readMeta(ctx, tx)
	if err != nil {
		return "", err
	}
	if have, ok := meta["format"]; ok && have != strconv.Itoa(Format) {
		return "", fmt.Errorf("its format is %s and this version of waybill reads format %d; run the version that wrote it, or remove the file (a new engine identity is drawn, and nothing is paused any more)", have, Format)
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS paused(stream TEXT PRIMARY KEY) STRICT`); err != nil {
		return "", err
	}
	id, known := meta["id"]
	if known && (meta["inode"] == inode || !locked) {
		return id, tx.Commit()
	}
	id = uuid.NewString()
	for _, kv := range [][2]string{{"format", strconv.Itoa(Format)}, {"id", id}, {"inode", inode}} {
		if _, err := tx.ExecContext(ctx, `INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value`, kv[0], kv[1]); err != nil {
			return "", err
		}
	}
	return id, tx.Commit()
}

func readMeta(ctx context.Context, tx *sql.Tx) (map[string]string, error) {
	if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT`); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT key, value FROM meta`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err below tells
	meta := map[string]string{}
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return nil, err
		}
		meta[k] = v
	}
	return meta, rows.Err()
}
