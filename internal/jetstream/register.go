package jetstream

import (
	"context"
	"errors"
	"fmt"
)

// Register makes the consumer known to the queue without opening the reader, so that what it
// lacks is kept from now on, though its target cannot be reached yet. Doing it again changes
// nothing.
func (r *Reader) Register(ctx context.Context) error {
	s, err := r.queue.open(ctx, "waybill register "+r.Stream)
	if err != nil {
		return err
	}
	name, err := r.resolve(ctx, s)
	switch {
	case errors.Is(err, errEmpty):
		err = nil // nothing that could be forgotten; Open knows more
	case err == nil:
		err = r.queue.register(s, r.Stream, name)
	}
	if err != nil {
		err = fmt.Errorf("register consumer %s of queue %s: %w", r.Stream, r.queue.Stream, err)
	}
	return errors.Join(err, s.close())
}
