package monitor

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/waybill-data/waybill/internal/pump"
)

var states = [...]pump.State{pump.Starting, pump.Running, pump.Waiting, pump.Standby, pump.Paused, pump.Stopped, pump.Failed, pump.Done}

// registry is the server's own: nothing that a library registers globally shows up in it.
func (s *Server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "waybill_build_info",
		Help:        "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": s.Version, "commit": s.Commit, "goversion": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newCollector(s.snapshots), newQueueCollector(s.queues))
	return r
}

// metric is one number of a pipeline. ok is false where it is unknown: then it is absent.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(p *pump.Status) (v float64, ok bool)
}

// collector turns snapshots into metrics at the moment of each scrape.
type collector struct {
	snapshots func() []pump.Status
	metrics   []metric
	slot      *prometheus.Desc
	state     *prometheus.Desc
	latency   *prometheus.Desc
}

func newCollector(snapshots func() []pump.Status) *collector {
	labels := []string{"pipeline", "target"}
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("waybill_"+name, help, append(labels[:2:2], more...), nil)
	}
	count := func(name, help string, get func(*pump.Status) uint64) metric {
		return metric{desc(name, help), prometheus.CounterValue, func(p *pump.Status) (float64, bool) { return float64(get(p)), true }}
	}
	gauge := func(name, help string, get func(*pump.Status) (float64, bool)) metric {
		return metric{desc(name, help), prometheus.GaugeValue, get}
	}
	return &collector{
		snapshots: snapshots,
		metrics: []metric{
			count("actions_total", "Actions written since the engine started.", func(p *pump.Status) uint64 { return p.Actions }),
			count("changes_total", "Changes in those actions.", func(p *pump.Status) uint64 { return p.Changes }),
			count("batches_total", "Transactions at the target that carried them.", func(p *pump.Status) uint64 { return p.Batches }),
			count("bytes_total", "Estimated size of those actions in bytes.", func(p *pump.Status) uint64 { return p.Bytes }),
			count("retries_total", "Attempts that failed for a moment and were made again.", func(p *pump.Status) uint64 { return p.Retries }),
			count("suppressed_total", "Actions found applied before, and not delivered again.", func(p *pump.Status) uint64 { return p.Suppressed }),
			count("filtered_total", "Actions of which nothing was left to apply.", func(p *pump.Status) uint64 { return p.Filtered }),
			count("foreign_writes_total", "Changes that found the target other than the stream had left it, since the stream began.", func(p *pump.Status) uint64 { return p.ForeignWrites }),
			gauge("slot_retained_bytes", "Log that the source keeps for the stream; absent where it does not, or while unknown.", slot(func(s *pump.Slot) float64 { return float64(s.Retained) })),
			gauge("slot_unconfirmed_bytes", "Log at the source that the stream has not confirmed.", slot(func(s *pump.Slot) float64 { return float64(s.Unconfirmed) })),
			gauge("slot_limit_bytes", "From how many retained bytes on an alarm is due; 0 for never.", slot(func(s *pump.Slot) float64 { return float64(s.Limit) })),
			gauge("slot_alarm", "1 while more is retained than max_slot_bytes, or the slot is lost.", slot(func(s *pump.Slot) float64 {
				if s.Alarm {
					return 1
				}
				return 0
			})),
			gauge("position_seq", "Number of the last action written; absent before the first.", func(p *pump.Status) (float64, bool) { return float64(p.Seq), p.Seq > 0 }),
			gauge("backlog_actions", "Actions waiting at the source, or a lower bound; absent while unknown.", func(p *pump.Status) (float64, bool) { return float64(p.Backlog), p.Backlog >= 0 }),
			gauge("lag_seconds", "Age of the oldest waiting action, of a failed pipeline at least the time since then; absent while unknown.", func(p *pump.Status) (float64, bool) { return p.LagSeconds, p.Backlog >= 0 }),
			gauge("last_progress_timestamp_seconds", "When something was last written, or the start.", func(p *pump.Status) (float64, bool) {
				return float64(p.LastProgress.UnixMilli()) / 1000, !p.LastProgress.IsZero()
			}),
		},
		slot:  desc("slot_status", "1 for the state of the slot that keeps the source's log, as the source calls it.", "status"),
		state: desc("pipeline_state", "1 for the state that the pipeline is in, 0 for the others.", "state"),
		latency: desc("commit_to_visible_seconds",
			"Seconds from the commit at the source to the target holding the action, over the last actions."),
	}
}

// slot is a number of a slot, unknown where there is none.
func slot(get func(*pump.Slot) float64) func(*pump.Status) (float64, bool) {
	return func(p *pump.Status) (float64, bool) {
		if p.Slot == nil {
			return 0, false
		}
		return get(p.Slot), true
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	ch <- c.slot
	ch <- c.state
	ch <- c.latency
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	all := c.snapshots()
	for i := range all {
		p := &all[i]
		for _, m := range c.metrics {
			if v, ok := m.value(p); ok {
				ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, p.Pipeline, p.Target)
			}
		}
		if p.Slot != nil {
			ch <- prometheus.MustNewConstMetric(c.slot, prometheus.GaugeValue, 1, p.Pipeline, p.Target, p.Slot.Status)
		}
		for _, s := range states {
			in := 0.0
			if p.State == s {
				in = 1
			}
			ch <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, in, p.Pipeline, p.Target, string(s))
		}
		if p.Actions > 0 {
			ch <- prometheus.MustNewConstSummary(c.latency, p.Actions, p.LatencySum, map[float64]float64{0.5: p.P50, 0.99: p.P99}, p.Pipeline, p.Target)
		}
	}
}
