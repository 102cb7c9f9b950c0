package conformance

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/fault"
)

// Breakages breaks the package under test on purpose, in a test binary built for that, and expects
// the test that is named for each breakage to fail. Unbroken they pass there too.
func Breakages(t *testing.T, notices map[string]string) {
	t.Helper()
	if fault.Enabled {
		t.Log("LEFT OUT: this is the binary that is broken on purpose")
		return
	}
	binary := filepath.Join(t.TempDir(), "broken.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "faults", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test binary with faults: %v: %s", err, out)
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

func runBroken(t *testing.T, binary, test, faults string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^("+test+")$", "-test.timeout", "2m")
	cmd.Env = append(os.Environ(), "WAYBILL_FAULTS="+faults)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
