package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// tail is the last message of a stream, as far as mending needs it.
type tail struct {
	seq   uint64
	batch string // the atomic batch that it is part of, but does not end; else empty
}

func lastMessage(ctx context.Context, nc *nats.Conn, stream string) (tail, error) {
	m, err := get(ctx, nc, stream, getRequest{Last: stream + ".>"})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return tail{}, nil
	}
	t := tail{seq: m.n}
	if m.hdr.Get(hdrBatchCommit) == "" {
		t.batch = m.hdr.Get(hdrBatch)
	}
	return t, err
}

// mend removes the beginning of a batch whose end is missing. The server completes such a batch
// when it starts, from its staged copy; where that copy was lost, the writer was never told
// that the batch is there, and writes it again.
func (q *Queue) mend(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	torn, err := lastMessage(ctx, nc, q.Stream)
	if err != nil || torn.batch == "" {
		return err
	}
	stream, err := js.Stream(ctx, q.Stream)
	if err != nil {
		return err
	}
	n := 0
	for t := torn; t.batch == torn.batch; n++ {
		if err := stream.DeleteMsg(ctx, t.seq); err != nil {
			return fmt.Errorf("remove message %d of a torn batch: %w", t.seq, err)
		}
		if t, err = lastMessage(ctx, nc, q.Stream); err != nil {
			return err
		}
	}
	q.Log.Warn("the end of a batch that was being written is missing; its beginning, never acknowledged, was removed",
		"stream", q.Stream, "messages", n)
	return nil
}

// lost reports messages that the server found damaged when it started, as a gap.
func (q *Queue) lost(ctx context.Context, nc *nats.Conn) error {
	m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+q.Stream, nil)
	if err != nil {
		return err
	}
	var info struct {
		State struct {
			Lost struct {
				Messages []uint64 `json:"msgs"`
			} `json:"lost"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return err
	}
	if n := len(info.State.Lost.Messages); n > 0 {
		return q.server.gone(q.Stream, fmt.Sprintf("%d messages of the queue's stream in %s are damaged, from message %d on", n, q.server.Dir, info.State.Lost.Messages[0]))
	}
	return nil
}

// leave notes how far the stream is, so that a later process notices where it was set back.
func (q *Queue) leave(ctx context.Context, js jetstream.JetStream) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, q.Stream)
	if err == nil {
		err = q.server.reached(q.Stream, stream.CachedInfo().State.LastSeq)
	}
	if err != nil {
		q.Log.Debug("the end of the queue's stream was not noted", "stream", q.Stream, "err", err)
	}
}
