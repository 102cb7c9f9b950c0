package monitor

// Queue is what a queue shows. The engine looks at it about once a second, more often while somebody
// keeps asking; nothing here is looked up at that moment.
type Queue struct {
	Queue     string   `json:"queue"` // the name of its stream
	Dir       string   `json:"dir"`
	Pipelines []string `json:"pipelines"`
	// Known: the last look succeeded. Otherwise Error says why it did not, and what else is here is
	// older than that, or was never known.
	Known bool   `json:"known"`
	Error string `json:"error,omitempty"`

	Messages      uint64  `json:"messages"`
	Bytes         uint64  `json:"bytes"`
	MaxBytes      uint64  `json:"max_bytes"`
	UsedPercent   float64 `json:"used_percent"`   // Bytes of MaxBytes
	OldestSeconds float64 `json:"oldest_seconds"` // age of the oldest message that some consumer lacks
	// Full: what comes from the sources is held back; Why is the reason, a clause.
	Full      bool            `json:"full"`
	Why       string          `json:"why,omitempty"`
	Consumers []QueueConsumer `json:"consumers"`
}

// QueueConsumer is what one consumer of a queue lacks.
type QueueConsumer struct {
	Consumer      string  `json:"consumer"` // the stream that it feeds, "pipeline/target"
	Subject       string  `json:"subject"`
	Depth         uint64  `json:"depth"` // messages
	Bytes         uint64  `json:"bytes"` // that these take, about
	OldestSeconds float64 `json:"oldest_seconds"`
	Rate          float64 `json:"rate"`   // messages taken per second, over about 10 s
	Paused        bool    `json:"paused"` // in this engine
}

// Queues shows queues; it must not block.
type Queues interface {
	Queues() []Queue
}
