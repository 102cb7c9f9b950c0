package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/waybill-data/waybill/internal/pump"
)

type shelf []Queue

func (s shelf) Queues() []Queue { return s }

var twoQueues = shelf{
	{
		Queue: "waybill", Dir: "data/queue", Pipelines: []string{"crm"}, Known: true, Messages: 30, Bytes: 75, MaxBytes: 100, UsedPercent: 75, OldestSeconds: 2.5,
		Full: true, Why: "crm/b lacks 20 messages",
		Consumers: []QueueConsumer{{Consumer: "crm/a", Depth: 1, Bytes: 2, Rate: 9.5}, {Consumer: "crm/b", Depth: 20, Bytes: 50, OldestSeconds: 2.5, Paused: true}},
	},
	{Queue: "other", Dir: "data/queue", Error: "held"},
}

func TestQueueMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newQueueCollector(twoQueues.Queues))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Fatalf("%v %v", problems, err)
	}
	body := get(server(t, Options{Queues: twoQueues}), "/metrics", nil).Body.String()
	for _, m := range []string{
		`waybill_queue_messages{dir="data/queue",queue="waybill"} 30`, `waybill_queue_bytes{dir="data/queue",queue="waybill"} 75`,
		`waybill_queue_max_bytes{dir="data/queue",queue="waybill"} 100`, `waybill_queue_oldest_seconds{dir="data/queue",queue="waybill"} 2.5`,
		`waybill_queue_full{dir="data/queue",queue="waybill"} 1`, `waybill_queue_consumer_depth{consumer="crm/b",dir="data/queue",queue="waybill"} 20`,
		`waybill_queue_consumer_bytes{consumer="crm/b",dir="data/queue",queue="waybill"} 50`,
		`waybill_queue_consumer_oldest_seconds{consumer="crm/a",dir="data/queue",queue="waybill"} 0`,
		`waybill_queue_consumer_rate{consumer="crm/a",dir="data/queue",queue="waybill"} 9.5`,
	} {
		if !strings.Contains(body, m) {
			t.Errorf("no %s in /metrics", m)
		}
	}
	if strings.Contains(body, `queue="other"`) {
		t.Error("what is not known of a queue is shown")
	}
}

func TestQueuePages(t *testing.T) {
	s := server(t, Options{Version: "v", Queues: twoQueues, Meters: []Meter{
		fixed{Pipeline: "crm", Target: "embedded", Stream: "crm/embedded", State: pump.Failed, Error: "x"}, fixed{Pipeline: "crm", Target: "a", Stream: "crm/a", State: pump.Paused, Paused: true},
	}})
	var r Report
	if err := json.Unmarshal(get(s, "/status", nil).Body.Bytes(), &r); err != nil || len(r.Queues) != 2 || r.Queues[0].Consumers[1].Depth != 20 || !r.Pipelines[1].Paused {
		t.Errorf("%v: %+v", err, r)
	}
	if len(r.NotReady) != 1 || r.NotReady[0] != "pipeline crm/embedded: failed: x" {
		t.Errorf("not ready: %q", r.NotReady)
	}
	page := get(s, "/", nil).Body.String()
	for _, want := range []string{"waybill            30        75 (75%) full  2.5s", "crm/b     20        50             2.5s    0.0", "other              ?"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

type switchboard struct{ asked []string }

func (s *switchboard) SetPaused(_ context.Context, pipeline, target string, paused bool) ([]Paused, error) {
	s.asked = append(s.asked, fmt.Sprintf("%s/%s %v", pipeline, target, paused))
	if pipeline != "crm" {
		return nil, fmt.Errorf("%w %s", ErrUnknown, pipeline)
	}
	return []Paused{{Stream: "crm/a", Paused: paused, Changed: true, Settled: true}}, nil
}

func TestPause(t *testing.T) {
	board := &switchboard{}
	s := server(t, Options{Version: "v", Token: "sesame", Pauser: board})
	const good = `{"pipeline":"crm"}`
	for _, c := range []struct {
		name, method, path, body, origin, kind, token string
		want                                          int
	}{
		{"pause", "POST", "/pause", good, "", "application/json", "sesame", 200},
		{"resume one", "POST", "/resume", `{"pipeline":"crm","target":"a"}`, "", "application/json; charset=utf-8", "sesame", 200},
		{"unknown", "POST", "/pause", `{"pipeline":"erp"}`, "", "application/json", "sesame", 404},
		{"looking", "GET", "/pause", "", "", "", "sesame", 405},
		{"no token", "POST", "/pause", good, "", "application/json", "", 401},
		{"wrong token", "POST", "/pause", good, "", "application/json", "sesam", 401},
		{"a form", "POST", "/pause", good, "", "text/plain", "sesame", 415},
		{"no kind", "POST", "/pause", good, "", "", "sesame", 415},
		{"another origin", "POST", "/pause", good, "https://evil.example.com", "application/json", "sesame", 403},
		{"no pipeline", "POST", "/pause", `{}`, "", "application/json", "sesame", 400},
		{"another key", "POST", "/pause", `{"pipeline":"crm","x":1}`, "", "application/json", "sesame", 400},
		{"two objects", "POST", "/pause", good + good, "", "application/json", "sesame", 400},
		{"no JSON", "POST", "/pause", "crm", "", "application/json", "sesame", 400},
		{"too long", "POST", "/pause", `{"pipeline":"` + strings.Repeat("x", maxPauseBytes) + `"}`, "", "application/json", "sesame", 400},
	} {
		r := httptest.NewRequest(c.method, "http://127.0.0.1:7780"+c.path, strings.NewReader(c.body))
		for k, v := range map[string]string{"Content-Type": c.kind, "Origin": c.origin} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
		var answer PauseReport
		if c.want == http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &answer) != nil || answer.Waybill != "v" || len(answer.Streams) != 1) {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
	if got := strings.Join(board.asked, ", "); got != "crm/ true, crm/a false, erp/ true" {
		t.Errorf("asked: %s", got)
	}
	s.Pauser = nil
	if w := get(s, "/pause", func(r *http.Request) { r.Method, r.Header = "POST", http.Header{"Authorization": {"Bearer sesame"}} }); w.Code != http.StatusNotFound {
		t.Errorf("without anything to pause: %d", w.Code)
	}
}
