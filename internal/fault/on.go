//go:build faults

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Enabled says whether this binary can be broken on purpose.
const Enabled = true

type trap struct {
	signal syscall.Signal
	left   atomic.Int64
}

var traps, broken = parse(os.Getenv("WAYBILL_FAULTS"))

func parse(spec string) (map[string]*trap, map[string]bool) {
	traps, broken := map[string]*trap{}, map[string]bool{}
	for item := range strings.SplitSeq(spec, ",") {
		f := strings.Split(item, ":")
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "break":
			broken[f[1]] = true
		case "kill", "stop":
			t := &trap{signal: syscall.SIGKILL}
			if f[0] == "stop" {
				t.signal = syscall.SIGSTOP
			}
			t.left.Store(1)
			if len(f) > 2 {
				if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
					t.left.Store(n)
				}
			}
			traps[f[1]] = t
		}
	}
	return traps, broken
}

// Hit marks that the engine passes a durable step.
func Hit(point string) {
	if t := traps[point]; t != nil && t.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), t.signal)
		if t.signal == syscall.SIGKILL {
			select {} // the signal is on its way; nothing more may happen
		}
		time.Sleep(100 * time.Millisecond) // another thread may be the first to stop
	}
}

// Broken reports whether a breakage is switched on.
func Broken(name string) bool { return broken[name] }
