package jetstream

import (
	"context"
	"errors"
)

// Stats is one look at a queue.
type Stats struct {
	Stream        string          `json:"stream"`
	Messages      uint64          `json:"messages"` // held
	Bytes         uint64          `json:"bytes"`    // held
	MaxBytes      uint64          `json:"max_bytes"`
	OldestSeconds float64         `json:"oldest_seconds"` // age of the oldest message that some consumer lacks; 0 without any
	Full          bool            `json:"full"`           // a writer is held back
	Subjects      []SubjectStats  `json:"subjects"`
	Consumers     []ConsumerStats `json:"consumers"`
}

// SubjectStats is one look at one subject.
type SubjectStats struct {
	Subject  string `json:"subject"`
	Messages uint64 `json:"messages"`
}

// ConsumerStats is one look at one registered consumer.
type ConsumerStats struct {
	Consumer      string  `json:"consumer"` // the Waybill stream, "pipeline/target"
	Subject       string  `json:"subject"`
	Depth         uint64  `json:"depth"` // messages that it lacks
	Bytes         uint64  `json:"bytes"` // that these take, about
	OldestSeconds float64 `json:"oldest_seconds"`
	Rate          float64 `json:"rate"` // messages acknowledged per second, over about 10 s
}

// Stats looks at the queue now.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	return Stats{}, errors.New("not built yet")
}
