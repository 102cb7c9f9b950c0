package sqlite

import (
	"context"
	"testing"
	"time"
)

// BenchmarkRead reads an outbox of 50,000 actions of about 300 bytes, flushing before each
// batch is handed on.
func BenchmarkRead(b *testing.B) {
	a := newSource(b, testStream)
	const actions = 50_000
	a.exec(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
INSERT INTO waybill_outbox (changes) SELECT format('[{"entity":"customer","op":"upsert","key":{"id":%d},"row":{"name":"customer number %d","email":"someone.%d@example.com","note":"%s"}}]', i, i, i, hex(randomblob(60))) FROM c`, actions)
	for b.Loop() {
		r := a.reader(SourceOptions{})
		r.open("", 0)
		for read := 0; read < actions; {
			batch, err := r.Next(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			read += len(batch.Actions)
		}
		r.close()
	}
	b.ReportMetric(float64(b.N*actions)/b.Elapsed().Seconds(), "actions/s")
}

// BenchmarkEmit is what the outbox costs an application: a row in a transaction of its own.
func BenchmarkEmit(b *testing.B) {
	for name, statement := range map[string]string{
		"outbox": "INSERT INTO waybill_outbox (changes) VALUES (?)",
		"plain":  "INSERT INTO plain (changes) VALUES (?)",
	} {
		b.Run(name, func(b *testing.B) {
			a := newSource(b, testStream)
			a.SetMaxOpenConns(1)
			a.exec("CREATE TABLE plain (n integer PRIMARY KEY, changes text)")
			a.exec("PRAGMA synchronous=NORMAL")
			text := upsertText(1)
			start := time.Now()
			for b.Loop() {
				a.exec(statement, text)
			}
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "rows/s")
		})
	}
}
