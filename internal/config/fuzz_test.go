package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzParse: any text is accepted or refused with sorted faults that have places, soon,
// without a panic and without showing a secret. go test -fuzz FuzzParse ./internal/config
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yml")
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		c, err := Parse("f.yml", data, testEnv)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
		if (c == nil) != (err != nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		if err != nil {
			checkFaults(t, data, err)
			return
		}
		shown, jsonErr := json.Marshal(c)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		for i := range c.Pipelines {
			p := &c.Pipelines[i]
			if p.Batch.MaxActions < 1 || p.Batch.MaxBytes < 1 || p.Batch.MaxDelay < 0 || p.Line < 1 || !pipelineName.MatchString(p.Name) {
				t.Errorf("pipeline is %+v", p)
			}
		}
		checkPipelines(t, c)
		onlyAsToken := c.Admin.Token == "SECRET-token" && strings.Count(string(data), "TOKEN") == 1
		if onlyAsToken && strings.Contains(fmt.Sprintf("%+v %s", c, shown), "SECRET-token") {
			t.Errorf("the token shows: %+v", c)
		}
	})
}

// checkPipelines: an accepted file has what its patterns need, and streams that are told apart.
func checkPipelines(t *testing.T, c *Config) {
	t.Helper()
	streams := map[string]bool{}
	for i := range c.Pipelines {
		p := &c.Pipelines[i]
		if q := p.Queue.Embedded; p.Pattern == "queue" != (q != nil) {
			t.Errorf("pattern %s with queue %v", p.Pattern, q)
		} else if q != nil && (q.Dir == "" || !pipelineName.MatchString(q.Stream) || q.MaxBytes < minQueueBytes || q.Keep < 0 || p.Source.IsSet() != (q.Subject == p.Name) && p.Source.IsSet()) {
			t.Errorf("queue is %+v", q)
		}
		if !p.Queue.IsSet() && (!p.Source.IsSet() || len(p.Targets) == 0) || !p.Source.IsSet() && len(p.Targets) == 0 {
			t.Errorf("a part is missing: %+v", p)
		}
		checkLog(t, p)
		mine := map[string]bool{}
		for _, s := range p.SourceStreams() {
			mine[strings.ToLower(s)] = true
		}
		for j := range p.Targets {
			s := strings.ToLower(p.StreamTo(&p.Targets[j]))
			if p.Queue.IsSet() && mine[s] {
				t.Errorf("%s is both hops", s)
			}
			mine[s] = true
		}
		for s := range mine {
			if streams[s] {
				t.Errorf("stream %s is there twice", s)
			}
			streams[s] = true
		}
	}
}

// checkLog: a source that is read from its log has tables or an outbox, and good slots.
func checkLog(t *testing.T, p *Pipeline) {
	t.Helper()
	s := p.Source.Postgres
	if s == nil {
		return
	}
	if (s.Capture == "changes") != (len(s.Tables) > 0) || s.Capture == "changes" && !s.Log() || s.MaxSlotBytes < 0 {
		t.Errorf("source is %+v", s)
	}
	if !s.Log() {
		return
	}
	slots := map[string]bool{}
	for _, stream := range p.SourceStreams() {
		slot := s.Slot(stream)
		if !slotPattern.MatchString(slot) || slots[slot] {
			t.Errorf("slot of %s is %s", stream, slot)
		}
		slots[slot] = true
	}
}

func checkFaults(t *testing.T, data []byte, err error) {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("error is %T: %v", err, err)
	}
	inOrder := slices.IsSortedFunc(faults, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if !inOrder && len(faults) <= maxFaults {
		t.Errorf("not in order:\n%v", err)
	}
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
	for _, f := range faults {
		if f.Line > lines || f.Line > 0 && f.Column < 1 || f.Message == "" || len(f.String()) > 2000 || strings.ContainsAny(f.String(), "\n\r\x00\x1b") {
			t.Errorf("fault is %q of %d lines", f.String(), lines)
		}
	}
	if !strings.Contains(string(data), "SECRET") && strings.Contains(err.Error(), "SECRET") {
		t.Errorf("what a variable holds shows:\n%v", err)
	}
}
