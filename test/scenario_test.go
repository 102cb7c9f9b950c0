package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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

// combo is a source and a target, or two, and whether there is a queue between them.
type combo struct {
	source, target kind
	second         kind // empty: one target
	queue          bool
	capture        capture
}

// capture is what is read of a PostgreSQL source.
type capture string

const (
	polled  capture = ""        // the outbox, by polling
	logged  capture = "log"     // the outbox, from the log
	changed capture = "changes" // the tables, from the log
)

// yaml is what the capture adds to the source. Slots are the server's, which tests share.
func (c capture) yaml(url string) string {
	slot := regexp.MustCompile(`/(\w+)\?`).FindStringSubmatch(url)
	switch c {
	case logged:
		return fmt.Sprintf(", capture: outbox, outbox: {read: wal}, slot: %s", slot[1])
	case changed:
		return fmt.Sprintf(", capture: changes, tables: [public.customer, public.phone, public.address, public.journal], slot: %s", slot[1])
	}
	return ", capture: outbox"
}

func (c combo) String() string {
	s := string(c.source) + "-"
	if c.capture != polled {
		s += string(c.capture) + "-"
	}
	if c.queue {
		s += "queue-"
	}
	s += string(c.target)
	if c.second != "" {
		s += "+" + string(c.second)
	}
	return s
}

// combos have neither queue nor second target; queued and fanned have.
var (
	combos = []combo{
		{source: postgres, target: postgres},
		{source: sqlite, target: sqlite},
		{source: postgres, target: sqlite},
		{source: sqlite, target: postgres},
	}
	queued = []combo{
		{source: postgres, queue: true, target: postgres},
		{source: sqlite, queue: true, target: sqlite},
		{source: postgres, queue: true, target: sqlite},
		{source: sqlite, queue: true, target: postgres, second: sqlite},
	}
	fanned = combo{source: postgres, target: postgres, second: sqlite}
	// read from the log
	logs = []combo{
		{source: postgres, capture: changed, target: postgres},
		{source: postgres, capture: logged, target: postgres},
		{source: postgres, capture: changed, target: sqlite},
		{source: postgres, capture: changed, queue: true, target: postgres},
	}
)

// scenario is a source, targets, perhaps a queue, and a pipeline "crm" between them.
type scenario struct {
	t       testing.TB
	combo   combo
	dir     string
	config  string
	files   int    // configurations written
	queue   string // its directory
	listen  string // where the queue listens, empty: nowhere
	source  *judge.Side
	from    string // the source in YAML
	targets []*target
	target  *judge.Side // the first one
}

// target is one target of a scenario.
type target struct {
	name string
	side *judge.Side
	url  string // where it is PostgreSQL
	yaml string
}

// customers is how many customers the workloads of this package have.
const customers = 10

// newScenario makes the databases with their tables and installs the outbox.
func newScenario(t testing.TB, c combo) *scenario {
	t.Helper()
	return newScenarioAt(t, c, "", "")
}

// newScenarioAt does so at the given PostgreSQL databases, which are empty; where the URL is
// empty, in databases on the server that the tests share.
func newScenarioAt(t testing.TB, c combo, sourceURL, targetURL string) *scenario {
	t.Helper()
	s := &scenario{t: t, combo: c, dir: t.TempDir()}
	s.queue = filepath.Join(s.dir, "queue")
	if c.source == postgres && sourceURL == "" {
		sourceURL = testenv.Postgres(t).URL
	}
	s.source, s.from = s.open("source", c.source, sourceURL, c.capture.yaml(sourceURL))
	if err := s.source.CreateSource(context.Background(), customers); err != nil {
		t.Fatal(err)
	}
	s.targets = append(s.targets, s.newTarget("one", c.target, targetURL))
	if c.second != "" {
		s.targets = append(s.targets, s.newTarget("two", c.second, ""))
	}
	s.target = s.targets[0].side
	s.config = s.write("state", s.plan())
	start(t, "", "outbox", "install", "crm", "-f", s.config).want(0)
	return s
}

func (s *scenario) newTarget(name string, k kind, url string) *target {
	s.t.Helper()
	if k == postgres && url == "" {
		url = testenv.Postgres(s.t).URL
	}
	side, yaml := s.open(name, k, url, "")
	if err := side.CreateTarget(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return &target{name: name, side: side, url: url, yaml: yaml}
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

// plan is one pipeline of a configuration: a name and YAML, empty for what it does not have.
type plan struct {
	name, source, target, targets string
	queue                         string // without its outer braces
}

// plan is the scenario's pipeline.
func (s *scenario) plan() plan {
	p := plan{name: "crm", source: s.from}
	if s.combo.queue {
		p.queue = fmt.Sprintf("dir: %q", s.queue)
		if s.listen != "" {
			p.queue += fmt.Sprintf(", listen: %q", s.listen)
		}
	}
	if len(s.targets) == 1 {
		p.target = s.targets[0].yaml
		return p
	}
	var all []string
	for _, t := range s.targets {
		all = append(all, fmt.Sprintf("%s: {%s}", t.name, t.yaml))
	}
	p.targets = strings.Join(all, ", ")
	return p
}

// relay is the plan without its targets, consume without its source.
func (p plan) relay() plan {
	p.target, p.targets = "", ""
	return p
}

func (p plan) consume() plan {
	p.source = ""
	p.queue += ", subject: crm"
	return p
}

func (p plan) text() string {
	pattern := "push"
	if p.queue != "" {
		pattern = "queue"
	}
	queue := p.queue
	if queue != "" {
		queue = "embedded: {" + queue + "}"
	}
	s := fmt.Sprintf("  %s:\n    pattern: %s\n    batch: {max_actions: 7}\n", p.name, pattern)
	for _, part := range [][2]string{{"source", p.source}, {"queue", queue}, {"target", p.target}, {"targets", p.targets}} {
		if part[1] != "" {
			s += fmt.Sprintf("    %s: {%s}\n", part[0], part[1])
		}
	}
	return s
}

// write writes a configuration with these pipelines and a state directory.
func (s *scenario) write(state string, plans ...plan) (path string) {
	s.t.Helper()
	s.files++
	path = filepath.Join(s.dir, fmt.Sprintf("waybill-%d.yaml", s.files))
	text := "pipelines:\n"
	for _, p := range plans {
		text += p.text()
	}
	text += fmt.Sprintf("state: {sqlite: {path: %q}}\nadmin: {listen: \"127.0.0.1:0\"}\n", filepath.Join(s.dir, state, "state.db"))
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
	w.Source, w.Customers, w.Silent = s.source, customers, s.combo.capture == changed
	stats, err := w.Run(context.Background())
	if err != nil {
		s.t.Fatalf("workload: %v", err)
	}
	return stats
}

// background writes workload after workload until the function it returns is called.
func (s *scenario) background() (stop func() judge.Stats) {
	s.t.Helper()
	return s.workloads(&judge.Workload{Sessions: 2, Actions: 40, Pause: 5 * time.Millisecond})
}

// workloads is background with workloads like w.
func (s *scenario) workloads(like *judge.Workload) (stop func() judge.Stats) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var (
		all sync.WaitGroup
		sum judge.Stats
		bad error
	)
	all.Go(func() {
		for seed := uint64(1); ctx.Err() == nil && bad == nil; seed++ {
			w := &judge.Workload{
				Source: s.source, Customers: customers, Seed: seed,
				Sessions: like.Sessions, Actions: like.Actions, Pause: like.Pause, Unplugged: like.Unplugged,
				Silent: s.combo.capture == changed,
			}
			var stats judge.Stats
			stats, bad = w.Run(ctx)
			sum.Add(stats)
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

// judge compares all targets with the source, and adds up what is wrong.
func (s *scenario) judge() *judge.Verdict {
	s.t.Helper()
	sum := &judge.Verdict{}
	for _, t := range s.targets {
		sum.Add(t.name, s.judgeAt(t))
	}
	return sum
}

func (s *scenario) judgeAt(t *target) *judge.Verdict {
	s.t.Helper()
	v, err := judge.Judge(context.Background(), s.source, t.side)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// clean fails unless everything arrived whole, in order, once, at every target.
func (s *scenario) clean(committed int) {
	s.t.Helper()
	if v := s.judge(); !v.Clean() || v.Actions != committed {
		s.t.Fatalf("%d actions were committed; %s", committed, v)
	}
}

// arrived counts what has arrived at each target so far.
func (s *scenario) arrived() arrivals {
	s.t.Helper()
	var n arrivals
	for _, t := range s.targets {
		n = append(n, s.arrivedAt(t))
	}
	return n
}

func (s *scenario) arrivedAt(t *target) int {
	s.t.Helper()
	return s.number(t.side, `select count(*) from arrival`)
}

// arrivals is how much has arrived at each target.
type arrivals []int

// past reports whether each target has got more than n rows further than before.
func (a arrivals) past(before arrivals, n int) bool {
	for i := range a {
		if a[i] <= before[i]+n {
			return false
		}
	}
	return true
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
	reconnect(side)
	c.Start(t)
}

// watch observes the targets until the test looks with the function it returns, and fails if
// a snapshot showed part of an action.
func (s *scenario) watch() (seen func() judge.Sighting) {
	observers := make([]*judge.Observer, 0, len(s.targets))
	for _, t := range s.targets {
		observers = append(observers, judge.Observe(t.side))
	}
	var once sync.Once
	var sum judge.Sighting
	seen = func() judge.Sighting {
		once.Do(func() {
			for i, o := range observers {
				sight, err := o.Stop()
				if err != nil {
					s.t.Errorf("target %s: %v", s.targets[i].name, err)
				}
				if i == 0 {
					sum.Polls = sight.Polls
				}
				sum.Add(sight)
			}
		})
		return sum
	}
	s.t.Cleanup(func() { seen() })
	return seen
}

func itoa(n int) string { return strconv.Itoa(n) }
