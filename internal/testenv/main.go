package testenv

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var shared struct {
	sync.Mutex
	clusters map[int]*sharedCluster // by major version; 0 is the one that is installed
	number   int
}

type sharedCluster struct {
	cluster *Cluster
	err     error
}

// Main runs the package's tests, stops the servers and fails if a goroutine is left over.
// Property tests draw from a fixed seed.
func Main(m *testing.M, opts ...goleak.Option) {
	fixSeed()
	code := m.Run()
	shared.Lock()
	for _, c := range shared.clusters {
		if c.err == nil {
			c.cluster.remove()
		}
	}
	shared.Unlock()
	if code == 0 {
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines left over after the tests: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}
