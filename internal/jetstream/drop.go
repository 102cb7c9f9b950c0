package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ReadBy names the registered consumers of a subject, in order. It makes nothing: a queue that
// was never used has none.
func (q *Queue) ReadBy(ctx context.Context, subject string) (consumers []string, err error) {
	err = q.withStream(ctx, func(jetstream.Stream) error {
		consumers, err = q.readBy(subject)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for the consumers of queue %s: %w", q.Stream, err)
	}
	return consumers, nil
}

func (q *Queue) readBy(subject string) ([]string, error) {
	all, _, err := q.registered()
	var consumers []string
	for _, c := range all {
		if c.Subject == subject {
			consumers = append(consumers, c.name)
		}
	}
	slices.Sort(consumers)
	return consumers, err
}

// Drop is waybill.Dropper's: everything that was written to the subject goes, and with its last
// message the position. While a consumer of it is registered nothing goes.
func (w *Writer) Drop(ctx context.Context, _ string) error {
	q := w.queue
	err := q.withStream(ctx, func(s jetstream.Stream) error {
		st := q.server.stream(q.Stream)
		st.purging.Lock()
		defer st.purging.Unlock()
		consumers, err := q.readBy(w.Subject)
		if err != nil {
			return err
		}
		if len(consumers) > 0 {
			return fmt.Errorf("%s still taken by %s", w.subject(), strings.Join(consumers, ", "))
		}
		// The schemas last: without its actions one of them is no more than wasted space.
		for _, subject := range []string{w.subject(), schemaSubject(w.subject(), "*")} {
			if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
				return lasting(err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("drop subject %s of queue %s: %w", w.Subject, q.Stream, err)
	}
	w.last, w.tail, w.doubt = 0, 0, nil // that it left nothing there is as it should be
	return nil
}

// withStream starts the server for do, unless directory or stream were never made.
func (q *Queue) withStream(ctx context.Context, do func(jetstream.Stream) error) (err error) {
	if _, err := os.Stat(q.server.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := q.server.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.server.Close()) }()
	nc, err := q.server.connect("waybill drop")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, q.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return lasting(err)
	}
	return do(s)
}
