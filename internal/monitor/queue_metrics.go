package monitor

import "github.com/prometheus/client_golang/prometheus"

// queueCollector turns what is known of queues into metrics at the moment of each scrape.
type queueCollector struct {
	queues   func() []Queue
	queue    []queueMetric[Queue]
	consumer []queueMetric[QueueConsumer]
}

type queueMetric[T any] struct {
	desc  *prometheus.Desc
	value func(*T) float64
}

func newQueueCollector(queues func() []Queue) *queueCollector {
	labels := []string{"queue", "dir"}
	ofQueue := func(name, help string, value func(*Queue) float64) queueMetric[Queue] {
		return queueMetric[Queue]{prometheus.NewDesc("waybill_queue_"+name, help, labels, nil), value}
	}
	ofConsumer := func(name, help string, value func(*QueueConsumer) float64) queueMetric[QueueConsumer] {
		return queueMetric[QueueConsumer]{prometheus.NewDesc("waybill_queue_consumer_"+name, help, append(labels[:2:2], "consumer"), nil), value}
	}
	return &queueCollector{
		queues: queues,
		queue: []queueMetric[Queue]{
			ofQueue("messages", "Messages that the queue holds.", func(q *Queue) float64 { return float64(q.Messages) }),
			ofQueue("bytes", "Bytes that the queue holds.", func(q *Queue) float64 { return float64(q.Bytes) }),
			ofQueue("max_bytes", "Bytes that the queue may hold.", func(q *Queue) float64 { return float64(q.MaxBytes) }),
			ofQueue("oldest_seconds", "Age of the oldest message that some consumer lacks.", func(q *Queue) float64 { return q.OldestSeconds }),
			ofQueue("full", "1 while the sources are held back for want of room, else 0.", func(q *Queue) float64 {
				if q.Full {
					return 1
				}
				return 0
			}),
		},
		consumer: []queueMetric[QueueConsumer]{
			ofConsumer("depth", "Messages that the consumer lacks.", func(c *QueueConsumer) float64 { return float64(c.Depth) }),
			ofConsumer("bytes", "Bytes that those messages take, about.", func(c *QueueConsumer) float64 { return float64(c.Bytes) }),
			ofConsumer("oldest_seconds", "Age of the oldest of those messages.", func(c *QueueConsumer) float64 { return c.OldestSeconds }),
			ofConsumer("rate", "Messages that the consumer took per second, over about 10 s.", func(c *QueueConsumer) float64 { return c.Rate }),
		},
	}
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.queue {
		ch <- m.desc
	}
	for _, m := range c.consumer {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector. A queue that could not be looked at is absent.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	queues := c.queues()
	for i := range queues {
		q := &queues[i]
		if !q.Known {
			continue
		}
		for _, m := range c.queue {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value(q), q.Queue, q.Dir)
		}
		for j := range q.Consumers {
			for _, m := range c.consumer {
				ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value(&q.Consumers[j]), q.Queue, q.Dir, q.Consumers[j].Consumer)
			}
		}
	}
}
