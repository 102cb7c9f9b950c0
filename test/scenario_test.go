package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/waybill-data/waybill/internal/testenv"
	"github.com/waybill-data/waybill/test/judge"
)

// kind is a technology of a source or target.
type kind string

const (
	postgres kind = "postgres"
	sqlite   kind = "sqlite"
)

// combo is a source and a target.
type combo struct{ source, target kind }

func (c combo) String() string { return string(c.source) + "-" + string(c.target) }

var combos = []combo{{postgres, postgres}, {sqlite, sqlite}, {postgres, sqlite}, {sqlite, postgres}}

// scenario is a source, a target and a pipeline "crm" between them.
type scenario struct {
	t              testing.TB
	combo          combo
	dir            string
	config         string
	files          int    // configurations written
	sourceAt       string // the pipeline's source in YAML
	targetAt       string
	targetURL      string // where the target is PostgreSQL
	source, target *judge.Side
}

// customers is how many customers the workloads of this package have.
const customers = 10

// newScenario makes both databases with their tables and installs the outbox.
func newScenario(t testing.TB, c combo) *scenario {
	t.Helper()
	return newScenarioAt(t, c, "", "")
}

// newScenarioAt does so at the given PostgreSQL databases, which are empty; where the URL is
// empty, in databases on the server that the tests share.
func newScenarioAt(t testing.TB, c combo, sourceURL, targetURL string) *scenario {
	t.Helper()
	s := &scenario{t: t, combo: c, dir: t.TempDir()}
	if c.source == postgres && sourceURL == "" {
		sourceURL = testenv.Postgres(t).URL
	}
	if c.target == postgres && targetURL == "" {
		targetURL = testenv.Postgres(t).URL
	}
	s.targetURL = targetURL
	s.source, s.sourceAt = s.open("source", c.source, sourceURL, ", capture: outbox")
	s.target, s.targetAt = s.open("target", c.target, targetURL, "")
	s.prepare()
	return s
}

// prepare makes the tables, writes the configuration and installs the outbox.
func (s *scenario) prepare() {
	s.t.Helper()
	ctx := context.Background()
	if err := s.source.CreateSource(ctx, customers); err != nil {
		s.t.Fatal(err)
	}
	if err := s.target.CreateTarget(ctx); err != nil {
		s.t.Fatal(err)
	}
	s.config = s.configure("crm", "state")
	start(s.t, "", "outbox", "install", "crm", "-f", s.config).want(0)
}

func (s *scenario) open(name string, k kind, url, extra string) (side *judge.Side, yaml string) {
	s.t.Helper()
	var err error
	if k == postgres {
		side, err = judge.Postgres(url)
		yaml = fmt.Sprintf(`postgres: {url: %q%s}`, url, extra)
	} else {
		path := filepath.Join(s.dir, name+".db")
		side, err = judge.SQLite(path)
		yaml = fmt.Sprintf(`sqlite: {path: %q%s}`, path, extra)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = side.Close() })
	return side, yaml
}

// configure writes a configuration with one pipeline and a state directory.
func (s *scenario) configure(pipeline, state string) (path string) {
	s.t.Helper()
	return s.write(pipeline, state, s.sourceAt, s.targetAt)
}

func (s *scenario) write(pipeline, state, source, target string) (path string) {
	s.t.Helper()
	s.files++
	path = filepath.Join(s.dir, fmt.Sprintf("waybill-%d.yaml", s.files))
	text := fmt.Sprintf(`pipelines:
  %s:
    pattern: push
    source: {%s}
    target: {%s}
    batch: {max_actions: 7}
state: {sqlite: {path: %q}}
admin: {listen: "127.0.0.1:0"}
`, pipeline, source, target, filepath.Join(s.dir, state, "state.db"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// run starts the engine to run until it is stopped, catchUp until it is caught up.
func (s *scenario) run(faults string) *engine {
	s.t.Helper()
	return start(s.t, faults, "run", "-f", s.config)
}

func (s *scenario) catchUp(faults string) *engine {
	s.t.Helper()
	return start(s.t, faults, "run", "-f", s.config, "--until-caught-up")
}

// load writes a workload to its end.
func (s *scenario) load(w *judge.Workload) judge.Stats {
	s.t.Helper()
	w.Source, w.Customers = s.source, customers
	stats, err := w.Run(context.Background())
	if err != nil {
		s.t.Fatalf("workload: %v", err)
	}
	return stats
}

// background writes workload after workload until the function it returns is called.
func (s *scenario) background() (stop func() judge.Stats) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var (
		all sync.WaitGroup
		sum judge.Stats
		bad error
	)
	all.Go(func() {
		for seed := uint64(1); ctx.Err() == nil && bad == nil; seed++ {
			w := &judge.Workload{Source: s.source, Customers: customers, Sessions: 2, Actions: 40, Seed: seed, Pause: 5 * time.Millisecond}
			var stats judge.Stats
			stats, bad = w.Run(ctx)
			sum.Committed += stats.Committed
			sum.RolledBack += stats.RolledBack
		}
	})
	var once sync.Once
	stop = func() judge.Stats {
		once.Do(func() {
			cancel()
			all.Wait()
		})
		return sum
	}
	s.t.Cleanup(func() {
		if stop(); bad != nil {
			s.t.Errorf("workload: %v", bad)
		}
	})
	return stop
}

func (s *scenario) judge() *judge.Verdict {
	s.t.Helper()
	v, err := judge.Judge(context.Background(), s.source, s.target)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// clean fails unless everything arrived whole, in order, once.
func (s *scenario) clean(committed int) {
	s.t.Helper()
	if v := s.judge(); !v.Clean() || v.Actions != committed {
		s.t.Fatalf("%d actions were committed; %s", committed, v)
	}
}

// arrived counts what has arrived at the target so far.
func (s *scenario) arrived() int {
	s.t.Helper()
	return s.number(s.target, `select count(*) from arrival`)
}

func (s *scenario) number(side *judge.Side, query string) (n int) {
	s.t.Helper()
	if err := side.DB.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (s *scenario) exec(side *judge.Side, query string, args ...any) {
	s.t.Helper()
	if _, err := side.DB.ExecContext(context.Background(), query, args...); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
}

// crash kills a server and starts it again. The connections that the test has pooled are gone
// with it.
func crash(t testing.TB, c *testenv.Cluster, side *judge.Side) {
	t.Helper()
	c.Kill(t)
	side.DB.SetMaxIdleConns(-1)
	side.DB.SetMaxIdleConns(2)
	c.Start(t)
}

// watch observes the target until the test looks with the function it returns, and fails if
// a snapshot showed part of an action.
func (s *scenario) watch() (seen func() judge.Sighting) {
	o := judge.Observe(s.target)
	var once sync.Once
	var sight judge.Sighting
	seen = func() judge.Sighting {
		once.Do(func() {
			var err error
			if sight, err = o.Stop(); err != nil {
				s.t.Errorf("%v", err)
			}
		})
		return sight
	}
	s.t.Cleanup(func() { seen() })
	return seen
}

func itoa(n int) string { return strconv.Itoa(n) }
