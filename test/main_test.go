package test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/waybill-data/waybill/internal/testenv"
)

// atOnce is how many tests run at once where nothing else is asked for: they mostly wait, for
// leases to run out and for disks.
const atOnce = 6

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", itoa(max(atOnce, runtime.GOMAXPROCS(0)))) // it is an int
	}
	testenv.Main(m)
}

// program builds the test build of the program once and returns its path. It lies in the
// repository's bin directory, which is not versioned: the next run replaces it.
func program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "waybill-faults")
	cmd := exec.Command("go", "build", "-tags", "faults", "-o", path, "../cmd/waybill")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})
