package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill"
)

const (
	// stagings is how often the store writes a batch before the first copy is removed.
	stagings = 2
	// minReserve and maxReserve bound what is left free beside a batch, in bytes: a block that
	// is rewritten while space is reclaimed, indexes, and what is known of the consumers.
	minReserve = 2 << 20
	maxReserve = 64 << 20
	// reserveShare is the part of the file system that is left free, between these bounds.
	reserveShare = 16
	// entryRoom is what must be free to note a consumer, in bytes; it comes out of the reserve.
	entryRoom = 256 << 10
	// restartPause is the least time between two restarts for the same reason.
	restartPause = 2 * time.Second
)

// Error codes of the server after which its store does not write any more.
const (
	codeInsufficientResources = 10023
	codeStorageExceeded       = 10047
	codeStoreFailed           = 10077
)

// room reports whether n more bytes can be stored with what the store needs beside them; if not,
// a transient error that names the directory and what is free.
func (s *Server) room(n int64) error {
	free, total, err := space(s.Dir)
	if err != nil {
		return waybill.AsTransient(err)
	}
	return enough(s.Dir, free, stagings*n+reserve(total))
}

// entryRoom reports whether a consumer can be noted.
func (s *Server) entryRoom() error {
	free, _, err := space(s.Dir)
	if err != nil {
		return waybill.AsTransient(err)
	}
	return enough(s.Dir, free, entryRoom)
}

// reserve is what is kept free on a file system of this size, in bytes.
func reserve(total int64) int64 {
	return min(max(total/reserveShare, minReserve), maxReserve)
}

func enough(dir string, free, need int64) error {
	if free >= need {
		return nil
	}
	return waybill.AsFull(fmt.Errorf(
		"queue directory %s: disk full: %s free, %s needed; nothing is lost, the queue goes on when there is space",
		dir, sizeText(free), sizeText(need)))
}

// space returns what is free on dir's file system for a process without privileges, and its size,
// in bytes.
func space(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	for {
		err = unix.Statfs(dir, &st)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look at the free space of %s: %w", dir, err)
	}
	block := int64(st.Bsize) //nolint:unconvert // its type differs between systems
	return int64(st.Bavail) * block, int64(st.Blocks) * block, nil
}

// sizeText writes a size for people.
func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// staged is what batches that were being committed at the last stop take, in bytes. The
// server completes them when it starts; without room for that it would leave them torn.
func (s *Server) staged() (int64, error) {
	var n int64
	dirs, err := filepath.Glob(filepath.Join(s.Dir, "jetstream", "*", "streams", "*", "batches"))
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { //nolint:gosec // the directory that the user names
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				n += info.Size()
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return n, nil
}

// startable reports whether there is room to complete what was being committed.
func (s *Server) startable() error {
	free, _, err := space(s.Dir)
	if err != nil {
		return err
	}
	n, err := s.staged()
	if err != nil {
		return fmt.Errorf("look for unfinished batches: %w", err)
	}
	if n == 0 {
		return nil
	}
	return enough(s.Dir, free, n+entryRoom)
}

// broken is told of an error that may have come from a store that can no longer write (a
// full disk): the server is started anew where that is needed, so that connections made
// before it break. It returns when the server is up again or the attempt failed.
func (s *Server) broken(ctx context.Context, cause error) {
	if cause == nil || errors.Is(cause, context.Canceled) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return
	}
	if s.running != nil {
		failed := s.log.wounded() || (sticks(cause) && time.Since(s.restarted) > restartPause)
		if s.running.JetStreamEnabled() && !failed {
			return
		}
	}
	s.Log.Warn("the queue's store cannot write any more; it is started anew", "dir", s.Dir, "cause", cause)
	s.restarted = time.Now()
	s.end()
	if err := s.run(ctx); err != nil {
		s.Log.Warn("the queue's store does not start yet", "dir", s.Dir, "err", err)
	}
}

// sticks reports whether cause comes from a store that refuses to write from then on.
func sticks(cause error) bool {
	var api *jetstream.APIError
	if !errors.As(cause, &api) {
		return errors.Is(cause, unix.ENOSPC)
	}
	switch api.ErrorCode {
	case codeInsufficientResources, codeStorageExceeded:
		return true
	case codeStoreFailed:
		return !full(cause)
	}
	return false
}

// full reports whether cause says that the stream has reached its max_bytes.
func full(cause error) bool {
	var api *jetstream.APIError
	return errors.As(cause, &api) && strings.HasPrefix(api.Description, "maximum ")
}
