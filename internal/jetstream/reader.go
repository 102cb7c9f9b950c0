package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/waybill-data/waybill"
)

// ReaderOptions describe one consumer of one subject.
type ReaderOptions struct {
	// Subject is the last token of the subject. Empty: the only one that the queue holds.
	Subject string
	// Stream is the consumer's name, "pipeline/target".
	Stream     string
	MaxActions int   // bounds of a batch
	MaxBytes   int64 // bytes
	Log        *slog.Logger
}

// Reader yields the actions of one subject.
type Reader struct {
	ReaderOptions
	queue *Queue
}

// NewReader prepares a reader; it opens nothing.
func NewReader(q *Queue, o ReaderOptions) *Reader { return &Reader{ReaderOptions: o, queue: q} }

// Open is waybill.Reader's.
func (r *Reader) Open(ctx context.Context, after waybill.Position) error {
	return errors.New("not built yet")
}

// Next is waybill.Reader's.
func (r *Reader) Next(ctx context.Context) (waybill.Batch, error) {
	return waybill.Batch{}, errors.New("not built yet")
}

// Ack is waybill.Reader's.
func (r *Reader) Ack(ctx context.Context, p waybill.Position) error { return nil }

// Head is waybill.Reader's.
func (r *Reader) Head(ctx context.Context) (waybill.Position, error) { return "", nil }

// Reached is waybill.Reader's.
func (r *Reader) Reached(p, head waybill.Position) bool { return false }

// Close is waybill.Reader's.
func (r *Reader) Close() error { return nil }

// Backlog is waybill.Backlog's.
func (r *Reader) Backlog(ctx context.Context, p waybill.Position) (int64, time.Duration, error) {
	return 0, 0, nil
}

// Drop is waybill.Dropper's: the consumer is forgotten.
func (r *Reader) Drop(ctx context.Context, stream string) error { return nil }

// Claims is waybill.Claimant's.
func (r *Reader) Claims() []waybill.Claim { return nil }
