package postgres

import (
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/fault"
)

// TestTargetBreakages breaks the writer on purpose, as TestSourceBreakages does the reader.
func TestTargetBreakages(t *testing.T) {
	if fault.Enabled {
		t.Log("LEFT OUT: this is the binary that is broken on purpose")
		return
	}
	binary := filepath.Join(t.TempDir(), "broken.test")
	build := exec.Command("go", "test", "-c", "-tags", "faults", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test binary with faults: %v: %s", err, out)
	}
	notices := map[string]string{
		fault.PositionApart: "TestCommitThatNeverArrives",
		fault.PositionFirst: "TestReadBackWaitsForTheCommit",
		fault.SplitAction:   "TestBatchOfSeveralPlans",
		fault.NoFence:       "TestZombie",
		fault.RetryUnknown:  "TestCommitWhoseAnswerIsLost",
	}
	tests := slices.Sorted(maps.Values(notices))
	if out, err := runBroken(t, binary, strings.Join(tests, "|"), ""); err != nil {
		t.Fatalf("unbroken: %v\n%s", err, out)
	}
	for breakage, test := range notices {
		t.Run(breakage, func(t *testing.T) {
			out, err := runBroken(t, binary, test, "break:"+breakage)
			if err == nil || !strings.Contains(out, "--- FAIL: "+test) {
				t.Errorf("%s does not notice: %v\n%s", test, err, out)
			}
		})
	}
}
