package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// settledAfter is how long after its last change a file's time tells a later change for sure.
const settledAfter = 2 * time.Second

// pausedThen is what was paused when the file was last read, and what the file was then.
type pausedThen struct {
	streams []string
	file    fs.FileInfo // nil: never read, or too soon after a change to tell the next one
}

// Paused lists the paused streams, in order of their names. It may be called often: a file that did
// not change is not read again.
func (s *Store) Paused(ctx context.Context) ([]string, error) {
	file, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("read what is paused from the state store: %w", err)
	}
	s.mu.Lock()
	then := s.then
	s.mu.Unlock()
	if then.file != nil && os.SameFile(file, then.file) && file.ModTime().Equal(then.file.ModTime()) && file.Size() == then.file.Size() {
		return slices.Clone(then.streams), nil
	}
	streams, err := s.readPaused(ctx)
	if err != nil {
		return nil, err
	}
	then = pausedThen{streams: slices.Clone(streams)}
	if time.Since(file.ModTime()) > settledAfter {
		then.file = file
	}
	s.mu.Lock()
	s.then = then
	s.mu.Unlock()
	return streams, nil
}

func (s *Store) readPaused(ctx context.Context) (streams []string, err error) {
	err = s.withDB(ctx, func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, `SELECT stream FROM paused ORDER BY stream`)
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // Err below tells
		for rows.Next() {
			var stream string
			if err := rows.Scan(&stream); err != nil {
				return err
			}
			streams = append(streams, stream)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read what is paused from state store %s: %w", s.path, err)
	}
	return streams, nil
}

// SetPaused remembers all of the streams as paused, or none of them any more. Any process on the
// directory may call it.
func (s *Store) SetPaused(ctx context.Context, streams []string, paused bool) error {
	statement := `DELETE FROM paused WHERE stream = ?`
	if paused {
		statement = `INSERT INTO paused(stream) VALUES (?) ON CONFLICT DO NOTHING`
	}
	err := s.withDB(ctx, func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; after an error that error tells
		for _, stream := range streams {
			if _, err := tx.ExecContext(ctx, statement, stream); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
	if err != nil {
		return fmt.Errorf("write what is paused to state store %s: %w", s.path, err)
	}
	return nil
}

// withDB opens the file for one use: it may be replaced while an engine runs for months.
func (s *Store) withDB(ctx context.Context, do func(context.Context, *sql.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	db, err := openDB(s.path)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, db), db.Close())
}
