package main

import (
	"os"
	"runtime/debug"

	"github.com/waybill-data/waybill/internal/config"
)

// What run lets the process take before it collects garbage more eagerly, in bytes: a base, and
// for each hop some times its largest batch. Blocks that the queue's server has let go of would
// otherwise wait until as much again was allocated.
const (
	memoryBase    = 136 << 20
	memoryBatches = 10
)

// limitMemory sets Go's soft limit of memory, unless the user did by GOMEMLIMIT.
func limitMemory(picked []*config.Pipeline) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(picked))
	}
}

func memoryLimit(picked []*config.Pipeline) int64 {
	limit := int64(memoryBase)
	for _, p := range picked {
		hops := int64(len(p.Targets))
		if p.Queue.IsSet() && p.Source.IsSet() {
			hops++
		}
		limit += hops * memoryBatches * p.Batch.MaxBytes
	}
	return limit
}
