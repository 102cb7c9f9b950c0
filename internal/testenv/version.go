package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Newer is the major version that scripts/setup-test.sh fetches beside the installed server.
const Newer = 18

// Versions are the major versions of PostgreSQL to test against: that of the server that is
// installed, and Newer, whether it can be had or not.
func Versions(t testing.TB) []int {
	t.Helper()
	dir, err := binaries(0)
	if err != nil {
		t.Fatal(err)
	}
	installed, err := versionOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if installed == Newer {
		return []int{installed}
	}
	return []int{installed, Newer}
}

// EachVersion runs the test against each of Versions.
func EachVersion(t *testing.T, test func(t *testing.T, major int)) {
	t.Helper()
	for _, major := range Versions(t) {
		t.Run(fmt.Sprintf("postgres-%d", major), func(t *testing.T) { test(t, major) })
	}
}

// requireVersion skips the test where there is no such server.
func requireVersion(t testing.TB, major int) {
	t.Helper()
	if major == 0 {
		return
	}
	if _, err := binaries(major); err != nil {
		t.Skipf("NOT TESTED: PostgreSQL %d. %v", major, err)
	}
}

// binaries finds the server's programs. 0: those that WAYBILL_TEST_PGBIN names, or else the
// newest that is installed; a major version: those that WAYBILL_TEST_PGBIN with the version names
// (WAYBILL_TEST_PGBIN18), the installed ones, or those that scripts/setup-test.sh fetched.
func binaries(major int) (string, error) {
	if major == 0 {
		if dir := os.Getenv("WAYBILL_TEST_PGBIN"); dir != "" {
			return dir, nil
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
		if len(found) == 0 {
			return "", errors.New("no PostgreSQL server found; run scripts/setup-test.sh, or set WAYBILL_TEST_PGBIN")
		}
		sort.Strings(found)
		return filepath.Dir(found[len(found)-1]), nil
	}
	variable := "WAYBILL_TEST_PGBIN" + strconv.Itoa(major)
	places := []string{os.Getenv(variable), os.Getenv("WAYBILL_TEST_PGBIN"), fmt.Sprintf("/usr/lib/postgresql/%d/bin", major)}
	if root, err := moduleRoot(); err == nil {
		places = append(places, filepath.Join(root, "bin", fmt.Sprintf("pg%d", major), "native", "bin"))
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); dir == "" || err != nil {
			continue
		}
		is, err := versionOf(dir)
		if err != nil {
			return "", err
		}
		if is == major {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no such server found; run scripts/setup-test.sh, or set %s to its bin directory", variable)
}

// versionOf asks a server's program for its major version, as the user that servers run as.
func versionOf(dir string) (int, error) {
	cred, err := credential()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(filepath.Join(dir, "postgres"), "--version")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s cannot be run: %w: %s", cmd.Path, err, out)
	}
	_, text, _ := strings.Cut(string(out), "(PostgreSQL) ")
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	major, err := strconv.Atoi(text[:max(digits, 0)])
	if err != nil {
		return 0, fmt.Errorf("%s does not say its version: %q", cmd.Path, out)
	}
	return major, nil
}

// moduleRoot is the directory that holds go.mod, from where the test runs upward.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, found := os.Stat(filepath.Join(dir, "go.mod")); found == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// Available tells whether there is a server of the major version.
func Available(major int) bool {
	_, err := binaries(major)
	return err == nil
}
