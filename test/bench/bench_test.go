//go:build bench

package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/pattern"
	"github.com/waybill-data/waybill/internal/pump"
	"github.com/waybill-data/waybill/internal/testenv"
)

var (
	out        = flag.String("write", "", "file to write the report to")
	rounds     = flag.Int("rounds", 5, "rounds of each comparison")
	scale      = flag.Int("messages", 200_000, "messages of the outbox drained; what memory is measured over grows with it")
	batch      = flag.Int("batch", 1000, "batch.max_actions of the engine's hops")
	postgres   = flag.Int("postgres", 0, "major version of the servers between which PostgreSQL's own replication is the yardstick; 0: the installed one")
	engineOnly = flag.Bool("engine-only", false, "leave the yardsticks out, for profiles")
)

func TestMain(m *testing.M) { testenv.Main(m) }

// figures are what one run measured.
type figures struct {
	comparisons []comparison
	memory      []memory
	latencies   []*latency
}

// TestBench measures each part in a subtest of its own, so that -run can pick one. The
// report is written only if all of them ran.
func TestBench(t *testing.T) {
	cluster := testenv.NewCluster(t, "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off", "checkpoint_timeout=30min")
	url := cluster.URL("postgres")
	var f figures
	parts := []struct {
		name    string
		measure func(t *testing.T)
	}{
		{"drain", func(t *testing.T) { f.comparisons = append(f.comparisons, drainOutbox(t, url)...) }},
		{"queue", func(t *testing.T) { f.comparisons = append(f.comparisons, outboxToQueue(t, url)...) }},
		{"apply", func(t *testing.T) {
			f.comparisons = append(f.comparisons, applyPostgres(t, url), applySQLite(t))
		}},
		{"latency", func(t *testing.T) { f.latencies = append(f.latencies, outboxLatency(t, url)) }},
		{"replication", func(t *testing.T) { f.comparisons = append(f.comparisons, replicate(t)...) }},
		{"replication-latency", func(t *testing.T) { f.latencies = append(f.latencies, replicationLatency(t)...) }},
		{"memory", func(t *testing.T) { f.memory = append(f.memory, manyActions(t, url)) }},
		{"large", func(t *testing.T) { f.memory = append(f.memory, largeAction(t, url)...) }},
		{"replication-large", func(t *testing.T) { f.memory = append(f.memory, largeTransaction(t)...) }},
	}
	ran := 0
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			p.measure(t)
			ran++
		})
	}
	if t.Failed() {
		return
	}
	text := report(f)
	fmt.Println(text)
	if *out != "" && ran == len(parts) && !*engineOnly {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// rate is things per second of one run of f. With -v it says what CPU time this process took for
// each, which a busy machine changes less than the rate.
func rate(t *testing.T, n int, f func(ctx context.Context) error) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	start, used := time.Now(), cpuTime()
	if err := f(ctx); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%.0f/s, %.1f µs CPU each", float64(n)/took.Seconds(), float64((cpuTime()-used).Microseconds())/float64(n))
	return float64(n) / took.Seconds()
}

// cpuTime is what this process used up to now.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// hop is one way from a reader to a writer.
func hop(stream string, r waybill.Reader, w waybill.Writer) *pattern.Hop {
	return &pattern.Hop{Stream: stream, Reader: r, Writer: w, MaxActions: *batch, MaxBytes: 4 << 20, MaxDelay: 5 * time.Millisecond, Meter: pump.NewMeter("bench", "target")}
}

func run(ctx context.Context, stream string, r waybill.Reader, w waybill.Writer, untilCaughtUp bool) error {
	return pattern.Push(ctx, pattern.Parts{Out: []*pattern.Hop{hop(stream, r, w)}, UntilCaughtUp: untilCaughtUp})
}

// payload is about 300 bytes.
func payload(id int) (name, email, note string) {
	return fmt.Sprintf("Customer number %d", id), fmt.Sprintf("customer.%d@example.com", id),
		fmt.Sprintf("%080d and some words that make up the rest of it", id)
}

// scatter spreads 0 … n-1 over the keys so that they come in random order. 611,953 is a prime.
func scatter(i, n int) int { return int(int64(i) * 611_953 % int64(n)) }
