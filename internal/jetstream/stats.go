package jetstream

import (
	"context"
	"errors"
	"time"
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

const (
	rateWindow  = 10 * time.Second
	rateEvery   = 500 * time.Millisecond
	rateSamples = int(rateWindow/rateEvery) + 2
)

// sample is what a consumer had at one time.
type sample struct {
	at    time.Time
	acked uint64
}

// sampled keeps a sample of the consumer, if the last one is old enough.
func (c *consumer) sampled(now time.Time) {
	n := len(c.samples)
	if n > 0 && now.Sub(c.samples[n-1].at) < rateEvery {
		return
	}
	if n == rateSamples {
		c.samples = append(c.samples[:0], c.samples[1:]...)
	}
	c.samples = append(c.samples, sample{now, c.Acked})
}
