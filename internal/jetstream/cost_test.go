package jetstream

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCost says what a message of about 450 bytes costs in CPU time, the server included.
func BenchmarkCost(b *testing.B) {
	for _, batch := range []int{1, 1000, 4000} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			q := newQueue(b, QueueOptions{MaxBytes: 8 << 30})
			f := newFeed(b, q, "orders")
			row := `{"name":"Ann Example","email":"ann@example.com","street":"12 Some Street","city":"Springfield","balance":1042.50,"active":true}`
			total := max(b.N, batch)
			change := conformance.Change(waybill.Upsert, "customer", `{"id":123456}`, row)
			began, spent := time.Now(), cpuTime()
			for n := 0; n < total; {
				var actions []waybill.Action
				for range min(batch, total-n) {
					actions = append(actions, f.action(n, change))
					n++
				}
				f.write(f.of(actions...))
			}
			wall, cpu := time.Since(began), cpuTime()-spent
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(total)/1000, "µs-cpu/write")
			b.ReportMetric(float64(total)/wall.Seconds(), "writes/s")
			r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/t", MaxActions: max(batch, 1000)})
			if err := r.Open(ctx(b), ""); err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			began, spent = time.Now(), cpuTime()
			for n := 0; n < total; {
				got, err := r.Next(ctx(b))
				if err != nil {
					b.Fatal(err)
				}
				n += len(got.Actions)
			}
			wall, cpu = time.Since(began), cpuTime()-spent
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(total)/1000, "µs-cpu/read")
			b.ReportMetric(float64(total)/wall.Seconds(), "reads/s")
		})
	}
}
