package jetstream

import (
	"context"
	"errors"
	"log/slog"

	"github.com/waybill-data/waybill"
)

// WriterOptions describe the writing end of one subject.
type WriterOptions struct {
	// Subject is the last token of the subject, the pipeline's name.
	Subject string
	Log     *slog.Logger
}

// Writer appends actions to one subject and keeps the position in its last message.
type Writer struct {
	WriterOptions
	queue *Queue
}

// NewWriter prepares a writer; it opens nothing.
func NewWriter(q *Queue, o WriterOptions) *Writer { return &Writer{WriterOptions: o, queue: q} }

// Resume is waybill.Writer's.
func (w *Writer) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	return "", errors.New("not built yet")
}

// Write is waybill.Writer's.
func (w *Writer) Write(ctx context.Context, b waybill.Batch) error {
	return errors.New("not built yet")
}

// Close is waybill.Writer's.
func (w *Writer) Close() error { return nil }

// Seq is waybill.Numbered's.
func (w *Writer) Seq() uint64 { return 0 }

// Claims is waybill.Claimant's.
func (w *Writer) Claims() []waybill.Claim { return nil }
