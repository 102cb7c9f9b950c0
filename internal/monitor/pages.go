package monitor

import (
	"encoding/json"
	"fmt"
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
	Waybill   string        `json:"waybill"`
	Engine    string        `json:"engine,omitempty"`
	Started   time.Time     `json:"started"`
	Ready     bool          `json:"ready"`
	NotReady  []string      `json:"not_ready,omitempty"`
	Pipelines []pump.Status `json:"pipelines"`
}

// Handler answers all paths, guarded. Run serves it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return s.guard(mux)
}

func (s *Server) snapshots() []pump.Status {
	all := make([]pump.Status, 0, len(s.Meters))
	for _, m := range s.Meters {
		all = append(all, m.Snapshot())
	}
	return all
}

func (s *Server) report() Report {
	r := Report{Waybill: s.Version, Engine: s.Engine, Started: s.started, Pipelines: s.snapshots()}
	r.NotReady = NotReady(r.Pipelines, s.now(), s.Stall)
	r.Ready = len(r.NotReady) == 0
	return r
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(s.report()) // an error here is a reader that went away
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
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%.1f\t%d\n", p.Pipeline, p.Target, p.State, p.Seq, waiting,
			time.Duration(p.LagSeconds*float64(time.Second)).Round(time.Millisecond), p.Rate, p.Retries)
	}
	_ = t.Flush() // into memory
	for _, reason := range r.NotReady {
		fmt.Fprintf(&b, "\nnot ready: %s", reason)
	}
	b.WriteString("\n/status  /healthz  /readyz  /metrics\n")
	text(w, http.StatusOK, b.String())
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body)) // an error here is a reader that went away
}
