package main

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/waybill-data/waybill/internal/config"
)

func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	queued := &config.Pipeline{
		Source: config.Source{SQLite: &config.SQLiteSource{}}, Queue: config.Queue{Embedded: &config.EmbeddedQueue{}},
		Targets: make([]config.Target, 2), Batch: config.Batch{MaxBytes: 4 << 20},
	}
	direct := &config.Pipeline{Source: queued.Source, Targets: make([]config.Target, 1), Batch: config.Batch{MaxBytes: 1 << 20}}
	for _, c := range []struct {
		env  string
		want int64
	}{
		{"", memoryBase + 3*memoryBatches*4<<20 + memoryBatches*1<<20},
		{"1GiB", math.MaxInt64}, // it was the runtime's to heed
	} {
		t.Setenv("GOMEMLIMIT", c.env)
		debug.SetMemoryLimit(math.MaxInt64)
		limitMemory([]*config.Pipeline{queued, direct})
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("with GOMEMLIMIT=%q the limit is %d, want %d", c.env, got, c.want)
		}
	}
}
