package poll

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgtest"
	"github.com/waybill-data/waybill/internal/testenv"
)

// message is the row of a typical action, about 300 bytes.
const message = `[{"entity":"customer","op":"upsert","key":{"id":4711},"row":{"id":4711,"city":"Helsinki","name":"Maija Meikäläinen",` +
	`"email":"maija.meikalainen@example.com","phone":"+358 40 1234567","credit":1250.50,"active":true,` +
	`"created":"2024-05-01T12:34:56.123456Z","comment":null,"street":"Aleksanterinkatu 52"}}]`

// emitMany commits n actions of one change, each in a transaction of its own.
func (s *source) emitMany(t testing.TB, n int) {
	t.Helper()
	for ; n > 10_000; n -= 10_000 {
		s.emitMany(t, 10_000)
	}
	testenv.Exec(t, s.url+"&synchronous_commit=off", fmt.Sprintf(
		`do $do$ begin for i in 1..%d loop perform waybill.emit('customer.saved', $j$%s$j$); commit; end loop; end $do$`, n, message))
}

// BenchmarkDrain reads what was emitted before, without writing it anywhere.
func BenchmarkDrain(b *testing.B) {
	const n = 200_000
	s := newSource(b)
	s.emitMany(b, n)
	for b.Loop() {
		o := s.reader(b, testStream)
		pgtest.Open(b, o, "")
		var at waybill.Position
		for left := n; left > 0; {
			batch, err := o.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			left -= len(batch.Actions)
			at = batch.Upto
		}
		if at == "" {
			b.Fatal("no position")
		}
		_ = o.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "actions/s")
}

// BenchmarkLatency reads what four writers emit at 1,000 actions a second together, with
// commits that wait for the disk, and reports the time from emit to Next.
func BenchmarkLatency(b *testing.B) {
	const seconds, rate, writers = 10, 1000, 4
	c := testenv.NewCluster(b)
	s := &source{url: c.URL("postgres")}
	s.install(b, testStream)
	o := s.reader(b, testStream)
	var (
		late []time.Duration
		at   waybill.Position
	)
	for b.Loop() {
		pgtest.Open(b, o, at)
		start := time.Now().Add(100 * time.Millisecond)
		for w := range writers {
			x := s.session(b)
			go func() {
				for i := w; i < seconds*rate; i += writers {
					time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / rate)))
					x.emit(w, i)
				}
			}()
		}
		for n := 0; n < seconds*rate; {
			batch, err := o.Next(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			now := time.Now()
			for i := range batch.Actions {
				late = append(late, now.Sub(batch.Actions[i].Time))
			}
			n, at = n+len(batch.Actions), batch.Upto
		}
		_ = o.Close()
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "ms-p99")
}
