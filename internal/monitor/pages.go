package monitor

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybill-data/waybill/internal/pump"
)

// Report is what /status answers.
type Report struct {
	// Waybill is the version of the program, and tells its answer from another server's.
	Waybill  string    `json:"waybill"`
	Engine   string    `json:"engine,omitempty"`
	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"`
	NotReady []string  `json:"not_ready,omitempty"`
	// Pipelines are their hops: one for each target, and one into the queue where there is one.
	Pipelines []pump.Status `json:"pipelines"`
	Queues    []Queue       `json:"queues,omitempty"`
}

// Handler answers all paths, guarded. Run serves it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	if s.Pauser != nil {
		mux.Handle("POST /pause", s.setPaused(true))
		mux.Handle("POST /resume", s.setPaused(false))
	}
	return s.guard(mux)
}

func (s *Server) snapshots() []pump.Status {
	all := make([]pump.Status, 0, len(s.Meters))
	for _, m := range s.Meters {
		all = append(all, m.Snapshot())
	}
	return all
}

func (s *Server) queues() []Queue {
	if s.Queues == nil {
		return nil
	}
	return s.Queues.Queues()
}

func (s *Server) report() Report {
	r := Report{Waybill: s.Version, Engine: s.Engine, Started: s.started, Pipelines: s.snapshots(), Queues: s.queues()}
	r.NotReady = NotReady(r.Pipelines, s.now(), s.Stall)
	r.Ready = len(r.NotReady) == 0
	return r
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.report())
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if r := s.report(); !r.Ready {
		text(w, http.StatusServiceUnavailable, strings.Join(r.NotReady, "\n")+"\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}

func (s *Server) overview(w http.ResponseWriter, _ *http.Request) {
	r := s.report()
	var b strings.Builder
	fmt.Fprintf(&b, "waybill %s, running since %s\n\n", r.Waybill, r.Started.UTC().Format(time.RFC3339))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PIPELINE\tTARGET\tSTATE\tSEQ\tWAITING\tLAG\tACTIONS/S\tRETRIES")
	for i := range r.Pipelines {
		p := &r.Pipelines[i]
		waiting := "?"
		if p.Backlog >= 0 {
			waiting = fmt.Sprint(p.Backlog)
		}
		if p.AtLeast {
			waiting += "+"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%.1f\t%d\n", p.Pipeline, p.Target, p.State, p.Seq, waiting,
			age(p.LagSeconds), p.Rate, p.Retries)
	}
	if len(r.Queues) > 0 {
		overviewQueues(t, r.Queues)
	}
	_ = t.Flush() // into memory
	for _, reason := range r.NotReady {
		fmt.Fprintf(&b, "\nnot ready: %s", reason)
	}
	b.WriteString("\n/status  /healthz  /readyz  /metrics\n")
	text(w, http.StatusOK, b.String())
}

func overviewQueues(t io.Writer, queues []Queue) {
	fmt.Fprintln(t, "\nQUEUE\tCONSUMER\tMESSAGES\tBYTES\tOLDEST\tMESSAGES/S")
	for i := range queues {
		q := &queues[i]
		if !q.Known {
			fmt.Fprintf(t, "%s\t\t?\t?\t?\t\n", q.Queue)
			continue
		}
		full := ""
		if q.Full {
			full = " full"
		}
		fmt.Fprintf(t, "%s\t\t%d\t%d (%.0f%%)%s\t%s\t\n", q.Queue, q.Messages, q.Bytes, q.UsedPercent, full, age(q.OldestSeconds))
		for _, c := range q.Consumers {
			fmt.Fprintf(t, "\t%s\t%d\t%d\t%s\t%.1f\n", c.Consumer, c.Depth, c.Bytes, age(c.OldestSeconds), c.Rate)
		}
	}
}

func age(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body)) // an error here is a reader that went away
}
