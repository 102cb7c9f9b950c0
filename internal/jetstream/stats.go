package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stats is one look at a queue.
type Stats struct {
	Stream        string          `json:"stream"`
	Messages      uint64          `json:"messages"` // held
	Bytes         uint64          `json:"bytes"`    // held
	MaxBytes      uint64          `json:"max_bytes"`
	OldestSeconds float64         `json:"oldest_seconds"` // age of the oldest message that some consumer lacks; 0 without any
	Full          bool            `json:"full"`           // a writer is held back
	FullReason    string          `json:"full_reason,omitempty"`
	Subjects      []SubjectStats  `json:"subjects"`
	Consumers     []ConsumerStats `json:"consumers"`
	unread        string          // what takes most of a full queue, if no consumer reads it
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

// Stats looks at the queue now; the server must be running. It asks for the counts that the server
// keeps, and reads two messages for each consumer; it never goes through the stream. Where several
// subjects share a stream, depths between nothing and everything are estimates.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	st, err := q.stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("look at queue %s: %w", q.Stream, lasting(err))
	}
	return st, nil
}

func (q *Queue) stats(ctx context.Context) (Stats, error) {
	nc, err := q.server.connect("waybill stats")
	if err != nil {
		return Stats{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return Stats{}, err
	}
	info, err := q.info(ctx, js)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Stats{Stream: q.Stream, MaxBytes: uint64(max(q.MaxBytes, 0))}, nil
	}
	if err != nil {
		return Stats{}, err
	}
	v := view{nc: nc, queue: q, info: info.State, now: time.Now()}
	s := Stats{Stream: q.Stream, Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: uint64(max(info.Config.MaxBytes, 0))}
	for subject, n := range info.State.Subjects {
		s.Subjects = append(s.Subjects, SubjectStats{Subject: strings.TrimPrefix(subject, q.Stream+"."), Messages: n})
	}
	slices.SortFunc(s.Subjects, func(a, b SubjectStats) int { return strings.Compare(a.Subject, b.Subject) })
	consumers, held, err := q.registered()
	if err != nil {
		return Stats{}, err
	}
	for i := range consumers {
		c, err := v.consumer(ctx, &consumers[i])
		if err != nil {
			return Stats{}, err
		}
		s.Consumers = append(s.Consumers, c)
		s.OldestSeconds = max(s.OldestSeconds, c.OldestSeconds)
	}
	slices.SortFunc(s.Consumers, func(a, b ConsumerStats) int { return strings.Compare(a.Consumer, b.Consumer) })
	if s.Full = held || s.MaxBytes > 0 && s.Bytes >= s.MaxBytes-s.MaxBytes/fullShare; s.Full {
		if s.unread, err = v.unread(ctx, &s); err != nil {
			return Stats{}, err
		}
		s.FullReason = q.why(&s)
	}
	return s, nil
}

// info is the stream's state with the count of messages of each pipeline's subject.
func (q *Queue) info(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, q.Stream)
	if err != nil {
		return nil, err
	}
	return stream.Info(ctx, jetstream.WithSubjectFilter(q.Stream+".*"))
}

// registered is a copy of what is known of the consumers, and whether a writer is held back.
func (q *Queue) registered() ([]consumer, bool, error) {
	st := q.server.stream(q.Stream)
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.load(q.server); err != nil {
		return nil, false, err
	}
	var all []consumer
	for _, c := range st.consumers {
		one := *c
		one.samples = slices.Clone(c.samples)
		all = append(all, one)
	}
	return all, !st.full.IsZero(), nil
}

// why names what keeps a full queue full: subjects that nobody reads, the consumer that lacks most,
// or the time.
func (q *Queue) why(s *Stats) string {
	consumers := s.Consumers
	var worst ConsumerStats
	for _, c := range consumers {
		if c.Bytes > worst.Bytes {
			worst = c
		}
	}
	switch {
	case len(consumers) == 0:
		return "no consumer is registered, so nothing is given up"
	case s.unread != "":
		return s.unread
	case worst.Depth > 0:
		return fmt.Sprintf("consumer %s lacks about %d messages", worst.Consumer, worst.Depth)
	case q.Keep > 0:
		return fmt.Sprintf("every consumer has everything; keep (%s) holds it", q.Keep)
	}
	return "every consumer has everything; it is being given up"
}

// unread names the subjects that no consumer reads, of which nothing is given up, if they take most
// of the queue; else it is empty.
func (v *view) unread(ctx context.Context, s *Stats) (string, error) {
	const most = 3 // that are looked at
	var of []SubjectStats
	for _, subject := range s.Subjects {
		if !slices.ContainsFunc(s.Consumers, func(c ConsumerStats) bool { return c.Subject == subject.Subject }) {
			of = append(of, subject)
		}
	}
	slices.SortStableFunc(of, func(a, b SubjectStats) int { return cmp.Compare(b.Messages, a.Messages) })
	var names []string
	messages, bytes := uint64(0), uint64(0)
	for _, subject := range of[:min(most, len(of))] {
		name := s.Stream + "." + subject.Subject
		last, err := get(ctx, v.nc, s.Stream, getRequest{Last: name})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		names = append(names, name)
		messages += subject.Messages
		bytes += subject.Messages * uint64(len(last.data)+storedOverhead/2)
	}
	if bytes = min(bytes, s.Bytes); bytes <= s.Bytes/2 {
		return "", nil
	}
	return fmt.Sprintf("no consumer reads %s, so nothing of that is given up: %d messages, about %s; let a pipeline consume it, or remove it (nats stream purge %s --subject NAME)",
		strings.Join(names, ", "), messages, sizeText(int64(bytes)), s.Stream), nil
}

// view is what one look at a stream has to go by.
type view struct {
	nc    *nats.Conn
	queue *Queue
	info  jetstream.StreamState
	now   time.Time
}

func (v *view) consumer(ctx context.Context, c *consumer) (ConsumerStats, error) {
	out := ConsumerStats{Consumer: c.name, Subject: c.Subject}
	subject := v.queue.Stream + "." + c.Subject
	held := v.info.Subjects[subject]
	// Sequences number all subjects' messages; share is the part of this subject among them.
	share := 1.0
	if span := v.info.LastSeq + 1 - v.info.FirstSeq; span > 0 && held < v.info.Msgs {
		share = min(1, float64(held)/float64(span))
	}
	out.Rate = c.rate(v.now) * share
	if held == 0 {
		return out, nil
	}
	last, err := get(ctx, v.nc, v.queue.Stream, getRequest{Last: subject})
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return out, err
	}
	if last.n <= c.Acked {
		return out, nil
	}
	next, err := get(ctx, v.nc, v.queue.Stream, getRequest{Seq: c.Acked + 1, Next: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.OldestSeconds = max(0, v.now.Sub(next.at).Seconds())
	out.Depth = held
	if c.Acked >= v.info.FirstSeq {
		out.Depth = min(held, max(1, uint64(float64(last.n-next.n+1)*share+0.5)))
	}
	out.Bytes = uint64(float64(out.Depth) * float64(v.info.Bytes) / float64(max(v.info.Msgs, 1)))
	return out, nil
}

// rate is how many sequence numbers per second the consumer went on, over the last seconds.
func (c *consumer) rate(now time.Time) float64 {
	since := now.Add(-rateWindow)
	i := 0
	for i < len(c.samples) && c.samples[i].at.Before(since) {
		i++
	}
	if i == len(c.samples) {
		return 0
	}
	from := c.samples[max(i-1, 0)]
	// What was acknowledged after a long rest was acknowledged within the window.
	span := min(now.Sub(from.at), rateWindow).Seconds()
	if span <= 0 {
		return 0
	}
	return float64(c.Acked-from.acked) / span
}

const (
	rateWindow  = 10 * time.Second
	rateEvery   = 500 * time.Millisecond
	rateSamples = int(rateWindow/rateEvery) + 2
	// fullShare is the part of max_bytes below which what is free does not count.
	fullShare = 100
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
