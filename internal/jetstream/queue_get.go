package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// getRequest asks for one message of a stream.
type getRequest struct {
	Seq   uint64     `json:"seq,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	Last  string     `json:"last_by_subj,omitempty"`
	Since *time.Time `json:"start_time,omitempty"`
}

// found is where and when a message was stored.
type found struct {
	seq     uint64
	at      time.Time
	subject string
	size    int // of its data, in bytes
}

// get looks a message up. jetstream.ErrMsgNotFound: there is none.
func get(ctx context.Context, nc *nats.Conn, stream string, r getRequest) (found, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return found{}, err
	}
	m, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream, text)
	if err != nil {
		return found{}, err
	}
	return place(m, stream)
}

// place reads where and when a message was stored from what the server answered.
func place(m *nats.Msg, stream string) (found, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return found{}, jetstream.ErrMsgNotFound
	default:
		return found{}, fmt.Errorf("look a message of stream %s up: %s %s", stream, status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return found{}, waybill.AsTransient(fmt.Errorf("look a message of stream %s up: %w", stream, err))
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	return found{seq, at, m.Header.Get(jetstream.SubjectHeader), len(m.Data)}, err
}

// firstOf is the first message of a subject at or after a sequence.
func firstOf(ctx context.Context, nc *nats.Conn, stream, subject string, after uint64) (uint64, error) {
	m, err := get(ctx, nc, stream, getRequest{Seq: max(after, 1), Next: subject})
	return m.seq, err
}

// firstSince is the first message stored at or after a time.
func firstSince(ctx context.Context, nc *nats.Conn, stream string, since time.Time) (uint64, error) {
	since = since.UTC()
	m, err := get(ctx, nc, stream, getRequest{Since: &since})
	return m.seq, err
}
