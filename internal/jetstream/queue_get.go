package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// getRequest asks for one message of a stream.
type getRequest struct {
	Seq   uint64     `json:"seq,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	Last  string     `json:"last_by_subj,omitempty"`
	Since *time.Time `json:"start_time,omitempty"`
}

// get looks a message up. jetstream.ErrMsgNotFound: there is none.
func get(ctx context.Context, nc *nats.Conn, stream string, r getRequest) (stored, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return stored{}, err
	}
	m, err := direct(ctx, nc, "$JS.API.DIRECT.GET."+stream, text)
	switch {
	case err != nil:
		return stored{}, fmt.Errorf("look a message of stream %s up: %w", stream, err)
	case m == nil:
		return stored{}, jetstream.ErrMsgNotFound
	}
	return *m, nil
}

// firstOf is the first message of a subject at or after a sequence.
func firstOf(ctx context.Context, nc *nats.Conn, stream, subject string, after uint64) (uint64, error) {
	m, err := get(ctx, nc, stream, getRequest{Seq: max(after, 1), Next: subject})
	return m.n, err
}

// firstSince is the first message stored at or after a time.
func firstSince(ctx context.Context, nc *nats.Conn, stream string, since time.Time) (uint64, error) {
	since = since.UTC()
	m, err := get(ctx, nc, stream, getRequest{Since: &since})
	return m.n, err
}
