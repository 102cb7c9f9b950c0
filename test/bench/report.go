//go:build bench

package bench

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// comparison is one figure: the engine's rate against the yardstick's.
type comparison struct {
	name      string
	unit      string
	asked     float64
	yardstick string // what the plain loop does
	engine    string // what is measured
	plain     []float64
	ours      []float64
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

func (c *comparison) ratio() float64 { return median(c.ours) / median(c.plain) }

type latency struct {
	name, way     string
	asked         [2]time.Duration // of the median and the 99th percentile; 0: said for comparison alone
	rate          int
	actions       int
	kept          float64 // actions/s that the source did commit
	p50, p99, max time.Duration
}

// memory is what an engine in a process of its own had resident, in MiB.
type memory struct {
	name   string
	method string
	asked  float64 // MiB; the peak is below
	peak   float64
	at     []float64 // at equal steps on the way to the end
	took   time.Duration
}

func report(f figures) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmarks\n")
	p("Written by `make bench`; do not edit. %s, %s.\n", time.Now().UTC().Format("2006-01-02"), machine())
	p("Each figure is the median of its rounds; engine and yardstick take turns in one run, on the same")
	p("private PostgreSQL servers with `fsync` and `synchronous_commit` on. The yardsticks move the same data")
	p("by other means and promise less; the plain loops promise nothing: no order, no exactly-once effect, no")
	p("position, no whole actions.\n")
	p("| figure | yardstick | engine | ratio | asked |")
	p("|---|---:|---:|---:|---:|")
	for i := range f.comparisons {
		c := &f.comparisons[i]
		asked := "" // said for comparison alone
		if c.asked > 0 {
			asked = fmt.Sprintf("%.2f", c.asked)
		}
		p("| %s | %.0f %s | %.0f %s | **%.2f** | %s |", c.name, median(c.plain), c.unit, median(c.ours), c.unit, c.ratio(), asked)
	}
	p("\n| figure | measured | asked |")
	p("|---|---:|---:|")
	for _, l := range f.latencies {
		p("| %s: commit to visible at %d actions/s, median | **%.1f ms** | %s |", l.name, int(l.kept+0.5), ms(l.p50), limit(l.asked[0]))
		p("| the same, 99th percentile | **%.1f ms** | %s |", ms(l.p99), limit(l.asked[1]))
		p("| the same, worst of %d | %.1f ms | |", l.actions, ms(l.max))
	}
	for _, m := range f.memory {
		p("| %s, peak resident | **%.0f MiB** | below %.0f MiB |", m.name, m.peak, m.asked)
	}
	p("\n## What is compared\n")
	for i := range f.comparisons {
		c := &f.comparisons[i]
		p("- **%s.** Yardstick: %s. Engine: %s. Rounds: %s against %s.", c.name, c.yardstick, c.engine, list(c.ours), list(c.plain))
	}
	for _, l := range f.latencies {
		p("- **%s: commit to visible.** One session commits %d actions a second (as far as it can), each in a transaction of its own,", l.name, l.rate)
		p("  %s; an observer at the target polls. The time runs from the return of the commit at the source to the poll that sees the row.", l.way)
	}
	for _, m := range f.memory {
		p("- **%s.** %s. It took %s.", m.name, m.method, m.took.Round(time.Second))
		if len(m.at) > 0 {
			p("  Resident at each %d %% of the way: %s MiB.", 100/len(m.at), list(m.at))
		}
	}
	return b.String()
}

// limit is what was asked for.
func limit(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f ms", ms(d))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func list(v []float64) string {
	var s []string
	for _, x := range v {
		s = append(s, fmt.Sprintf("%.0f", x))
	}
	return strings.Join(s, ", ")
}

func machine() string {
	pg, _ := exec.Command("sh", "-c", "ls -d /usr/lib/postgresql/* | tail -n 1 | xargs basename").Output()
	return fmt.Sprintf("%s, %d cores, Linux, %s, PostgreSQL %s", cpu(), runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(pg)))
}

func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return runtime.GOARCH
}
