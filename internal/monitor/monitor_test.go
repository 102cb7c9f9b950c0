package monitor

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/waybill-data/waybill/internal/pump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed is a meter that always shows the same.
type fixed pump.Status

func (f fixed) Snapshot() pump.Status { return pump.Status(f) }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func server(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon }
	return s
}

func get(s *Server, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7780"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestNotReady(t *testing.T) {
	base := pump.Status{
		Pipeline: "crm", Target: "sqlite", State: pump.Running, Since: noon.Add(-time.Hour),
		LastProgress: noon.Add(-time.Hour), Backlog: 0, CaughtUp: true,
	}
	for _, c := range []struct {
		name string
		edit func(*pump.Status)
		want string // empty: ready
	}{
		{"idle for an hour", func(*pump.Status) {}, ""},
		{"a fresh action after an idle hour", func(p *pump.Status) { p.Backlog, p.LagSeconds = 1, 0.2 }, ""},
		{"behind but writing", func(p *pump.Status) { p.Backlog, p.LagSeconds, p.LastProgress = 9, 3600, noon.Add(-time.Second) }, ""},
		{"behind and still", func(p *pump.Status) { p.Backlog, p.LagSeconds = 9, 31 }, "pipeline crm: 9 actions wait at the source and nothing was written for 1h0m0s"},
		{"starting", func(p *pump.Status) { p.State = pump.Starting }, "pipeline crm: not connected yet"},
		{"waiting from the start", func(p *pump.Status) {
			p.State, p.Since, p.Backlog, p.CaughtUp, p.Error = pump.Waiting, noon, -1, false, "refused"
		}, "pipeline crm: not connected yet: refused"},
		{"waiting for a moment", func(p *pump.Status) { p.State, p.Since, p.Batches = pump.Waiting, noon.Add(-5*time.Second), 1 }, ""},
		{"waiting for long", func(p *pump.Status) {
			p.State, p.Since, p.Batches, p.Error = pump.Waiting, noon.Add(-31*time.Second), 1, "refused"
		}, "pipeline crm: has been trying again for 31s: refused"},
		{"failed", func(p *pump.Status) { p.State, p.Error = pump.Failed, "gap" }, "pipeline crm: failed: gap"},
		{"stopped", func(p *pump.Status) { p.State = pump.Stopped }, "pipeline crm: stopped"},
		{"standing by", func(p *pump.Status) { p.State, p.Backlog, p.Error = pump.Standby, -1, "held by another" }, ""},
		{"done", func(p *pump.Status) { p.State = pump.Done }, ""},
	} {
		p := base
		c.edit(&p)
		if got := strings.Join(NotReady([]pump.Status{p}, noon, 30*time.Second), "|"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPages(t *testing.T) {
	s := server(t, Options{
		Version: "1.2.3", Engine: "e-1",
		Meters: []Meter{
			fixed{Pipeline: "crm", Target: "sqlite", State: pump.Running, Backlog: 0, Seq: 7},
			fixed{Pipeline: "erp", Target: "postgres", State: pump.Failed, Error: "gap in stream", Backlog: -1},
		},
	})
	var r Report
	w := get(s, "/status", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %v", w.Code, err)
	}
	if r.Waybill != "1.2.3" || r.Engine != "e-1" || r.Ready || len(r.NotReady) != 1 || len(r.Pipelines) != 2 || r.Pipelines[0].Seq != 7 {
		t.Errorf("%+v", r)
	}
	if w = get(s, "/readyz", nil); w.Code != http.StatusServiceUnavailable || w.Body.String() != "pipeline erp: failed: gap in stream\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w = get(s, "/", nil); !strings.Contains(w.Body.String(), "erp       postgres  failed   0    ?") {
		t.Errorf("overview:\n%s", w.Body)
	}
	if w = get(s, "/nothing", nil); w.Code != http.StatusNotFound {
		t.Errorf("unknown path: %d", w.Code)
	}
	if w = get(s, "/status", func(r *http.Request) { r.Method = http.MethodPost }); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	s.Meters = s.Meters[:1]
	if w = get(s, "/readyz", nil); w.Code != http.StatusOK {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestMetrics(t *testing.T) {
	meters := []pump.Status{
		{
			Pipeline: "crm", Target: "sqlite", State: pump.Running, Seq: 12, Actions: 10, Changes: 30, Batches: 4, Bytes: 5000,
			Retries: 1, Suppressed: 2, Filtered: 3, ForeignWrites: 4, Backlog: 5,
			Slot: &pump.Slot{Name: "waybill_crm_sqlite", Status: "extended", Retained: 1 << 20, Unconfirmed: 1 << 10, Limit: 1 << 19, Alarm: true}, LagSeconds: 1.5, LastProgress: noon, P50: 0.004, P99: 0.03,
		},
		{Pipeline: "erp", Target: "postgres", State: pump.Starting, Backlog: -1},
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newCollector(func() []pump.Status { return meters }))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v %v", problems, err)
	}
	body := get(server(t, Options{Version: "1.2.3", Meters: []Meter{fixed(meters[0]), fixed(meters[1])}}), "/metrics", nil).Body.String()
	for _, m := range []string{
		`waybill_backlog_actions{pipeline="crm",target="sqlite"} 5`, `waybill_lag_seconds{pipeline="crm",target="sqlite"} 1.5`,
		`waybill_actions_total{pipeline="crm",target="sqlite"} 10`, `waybill_actions_total{pipeline="erp",target="postgres"} 0`,
		`waybill_filtered_total{pipeline="crm",target="sqlite"} 3`, `waybill_foreign_writes_total{pipeline="crm",target="sqlite"} 4`,
		`waybill_slot_retained_bytes{pipeline="crm",target="sqlite"} 1.048576e+06`, `waybill_slot_unconfirmed_bytes{pipeline="crm",target="sqlite"} 1024`,
		`waybill_slot_alarm{pipeline="crm",target="sqlite"} 1`, `waybill_slot_limit_bytes{pipeline="crm",target="sqlite"} 524288`,
		`waybill_slot_status{pipeline="crm",status="extended",target="sqlite"} 1`,
		`waybill_suppressed_total{pipeline="crm",target="sqlite"} 2`,
		`waybill_commit_to_visible_seconds{pipeline="crm",target="sqlite",quantile="0.99"} 0.03`,
		`waybill_commit_to_visible_seconds_count{pipeline="crm",target="sqlite"} 10`,
		`waybill_build_info{commit="",goversion=`, "go_goroutines ", "process_open_fds ", `waybill_position_seq{pipeline="crm",target="sqlite"} 12`,
		`waybill_pipeline_state{pipeline="crm",state="running",target="sqlite"} 1`, `waybill_pipeline_state{pipeline="crm",state="failed",target="sqlite"} 0`,
	} {
		if !strings.Contains(body, m) {
			t.Errorf("no %s in /metrics", m)
		}
	}
	for _, m := range []string{"backlog_actions", "lag_seconds", "position_seq", "slot_retained_bytes", "slot_alarm", "commit_to_visible_seconds"} {
		if strings.Contains(body, "waybill_"+m+`{pipeline="erp"`) {
			t.Errorf("%s is shown for a pipeline that never ran", m)
		}
	}
}

func TestToken(t *testing.T) {
	s := server(t, Options{Listen: "0.0.0.0:0", Token: "sesame"})
	for _, c := range []struct {
		path, header string
		want         int
	}{
		{"/healthz", "", 200},
		{"/status", "", 401},
		{"/", "Bearer", 401},
		{"/metrics", "Basic sesame", 401},
		{"/readyz", "Bearer sesam", 401},
		{"/nothing", "Bearer ", 401},
		{"/healthz/", "", 401},
		{"/status", "Bearer sesame", 200},
		{"/status", "bearer sesame", 200},
	} {
		w := get(s, c.path, func(r *http.Request) {
			r.Host = "waybill.example.com"
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
		})
		if w.Code != c.want {
			t.Errorf("%s with %q: %d, want %d", c.path, c.header, w.Code, c.want)
		}
		if strings.Contains(w.Body.String(), "sesame") {
			t.Errorf("%s shows the token", c.path)
		}
	}
}

func TestRebinding(t *testing.T) {
	s := server(t, Options{})
	for host, want := range map[string]int{
		"127.0.0.1:7780": 200, "localhost:7780": 200, "LOCALHOST": 200, "localhost.": 200, "[::1]:7780": 200, "127.9.9.9": 200,
		"evil.example.com": 421, "evil.example.com:7780": 421, "localhost.evil.com": 421, "192.168.1.1:7780": 421, "127.0.0.1.nip.io": 421, "": 421,
	} {
		for _, path := range []string{"/status", "/healthz"} {
			if w := get(s, path, func(r *http.Request) { r.Host = host }); w.Code != want {
				t.Errorf("Host %q: %d, want %d", host, w.Code, want)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:7780", ":7780", "[::]:7780", "example.com:7780", "192.168.1.1:7780"} {
		if _, err := New(Options{Listen: listen}); err == nil || !strings.Contains(err.Error(), "admin.token") {
			t.Errorf("%s without token: %v", listen, err)
		}
		if _, err := New(Options{Listen: listen, Token: "t"}); err != nil {
			t.Errorf("%s with token: %v", listen, err)
		}
	}
	if _, err := New(Options{Listen: "7780"}); err == nil {
		t.Error("a port alone passes")
	}
}

// logbook is a log to wait on.
type logbook struct {
	mu    sync.Mutex
	text  string
	lines chan string
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	select {
	case l.lines <- string(p):
	default:
	}
	return len(p), nil
}

func (l *logbook) await(t *testing.T, want string) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case line := <-l.lines:
			if strings.Contains(line, want) {
				return line
			}
		case <-deadline:
			t.Fatalf("no %q in the log:\n%s", want, l.text)
		}
	}
}

// TestTakenPort: Run warns once, goes on, and answers once the port is free.
func TestTakenPort(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	book := &logbook{lines: make(chan string, 100)}
	s := server(t, Options{Listen: l.Addr().String(), RetryListen: time.Millisecond, Log: slog.New(slog.NewTextHandler(book, nil)), Version: "v"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	book.await(t, "address is taken")
	_ = l.Close()
	book.await(t, "admin address open")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + s.Listen + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "ok\n" {
		t.Errorf("%q", body)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := strings.Count(book.text, "address is taken"); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

func TestRunFailsOnBadAddress(t *testing.T) {
	s := server(t, Options{Listen: "127.0.0.1:99999"})
	if err := s.Run(t.Context()); err == nil {
		t.Error("no error")
	}
}
