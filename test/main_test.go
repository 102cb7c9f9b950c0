package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/waybill-data/waybill/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

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
