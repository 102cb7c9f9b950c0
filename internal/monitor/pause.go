package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

const (
	maxPauseBytes = 4 << 10
	pauseTimeout  = 5 * time.Second // for writes under way to end
)

// Pauser pauses and resumes what the engine runs.
type Pauser interface {
	// SetPaused remembers it and does it, at the hop to one target or, without a target, at all
	// hops of the pipeline. It waits for writes under way until ctx ends. ErrUnknown: the engine
	// does not run that.
	SetPaused(ctx context.Context, pipeline, target string, paused bool) ([]Paused, error)
}

// ErrUnknown says that the engine does not run what it was asked to pause or resume.
var ErrUnknown = errors.New("the running engine does not run")

// PauseRequest is the body of a POST to /pause and /resume.
type PauseRequest struct {
	Pipeline string `json:"pipeline"`
	Target   string `json:"target,omitempty"` // empty: all hops
}

// Paused is one hop that was paused or resumed.
type Paused struct {
	Stream  string `json:"stream"`
	Paused  bool   `json:"paused"`
	Changed bool   `json:"changed"` // it was not so before
	// Settled: no write is under way any more. Always true for a hop that is not paused.
	Settled bool `json:"settled"`
}

// PauseReport is what /pause and /resume answer.
type PauseReport struct {
	Waybill string   `json:"waybill"` // as in Report
	Streams []Paused `json:"streams"`
}

// setPaused answers POST /pause and /resume. A page in a browser on this machine cannot send what
// it asks for: neither the content type nor a foreign origin passes.
func (s *Server) setPaused(paused bool) http.Handler {
	h := func(w http.ResponseWriter, r *http.Request) {
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
			http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
			return
		}
		var ask PauseRequest
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPauseBytes))
		d.DisallowUnknownFields()
		if err := d.Decode(&ask); err != nil || ask.Pipeline == "" {
			http.Error(w, `send {"pipeline": "NAME", "target": "NAME"}; the target may be left out`, http.StatusBadRequest)
			return
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			http.Error(w, "send one object", http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pauseTimeout)
		defer cancel()
		streams, err := s.Pauser.SetPaused(ctx, ask.Pipeline, ask.Target, paused)
		switch {
		case errors.Is(err, ErrUnknown):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			writeJSON(w, PauseReport{Waybill: s.Version, Streams: streams})
		}
	}
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(h))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // an error here is a reader that went away
}
