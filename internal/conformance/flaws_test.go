package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/conformance"
)

// flawVar tells a re-executed test binary what to do wrong.
const flawVar = "WAYBILL_TEST_FLAW"

// TestReader: a correct reader passes; TestReaderFlaws runs this again with flaws.
func TestReader(t *testing.T) {
	conformance.TestReader(t, func(t *testing.T) conformance.Source {
		return newMemSource(t, os.Getenv(flawVar)).source()
	})
}

// TestWriter likewise.
func TestWriter(t *testing.T) {
	conformance.TestWriter(t, func(t *testing.T) conformance.Target {
		return newPlain(t, filepath.Join(t.TempDir(), "target.db"), os.Getenv(flawVar))
	})
}

// TestReaderFlaws: each wrong reader fails the rule that is there for it.
func TestReaderFlaws(t *testing.T) {
	caught(t, "TestReader", map[string]string{
		"order by insertion":        "order is commit order",
		"dirty read":                "nothing uncommitted",
		"dirty rollback":            "rolled back",
		"split transaction":         "one transaction is one action",
		"numbers start anew":        "actions emitted while it reads",
		"id of the delivery":        "same on every read",
		"iterate once":              "large action",
		"half a large action":       "large action",
		"purge unacknowledged":      "every consumer holds back the purge",
		"purge unread":              "nothing unacknowledged goes",
		"purge nothing":             "what everybody has goes",
		"open acknowledges":         "nothing unacknowledged goes",
		"ack everything read":       "acknowledged in the middle",
		"restart at what is left":   "gap: target behind the acknowledgement",
		"any version":               "gap: position of another version",
		"any source":                "gap: position of another source",
		"deaf":                      "Next after a context that has ended",
		"skip malformed":            "malformed row stops there",
		"head does not wake":        "head wakes a waiting Next",
		"head is always reached":    "head covers what is committed",
		"backlog counts everything": "backlog",
		"suppressed counts nothing": "suppressed",
		"drop leaves the consumer":  "a dropped consumer holds nothing back",
		"close once":                "close twice, and without open",
		"leaves a goroutine":        "no goroutine left",
	})
}

// TestWriterFlaws: each wrong writer fails the rule that is there for it.
func TestWriterFlaws(t *testing.T) {
	caught(t, "TestWriter", map[string]string{
		"position after":           "the same owner takes over at once",
		"split action":             "no observer sees part of an action",
		"split batch":              "refused: insert of a key that exists",
		"refuse when fenced":       "the same owner takes over at once",
		"no fence":                 "the same owner takes over at once",
		"no lease":                 "held",
		"lease kept":               "closing gives the lease back",
		"close frees any lease":    "the same owner takes over at once",
		"owner waits":              "the same owner takes over at once",
		"epoch stays":              "every resume raises the epoch",
		"no density":               "a hole in the numbers",
		"any batch":                "a batch from elsewhere",
		"insert is upsert":         "refused: insert of a key that exists",
		"update may miss":          "refused: update of a key that is missing",
		"delete must hit":          "the four operations",
		"upsert sets absent":       "the four operations",
		"parents last":             "parents and children",
		"last change per key":      "unique values that change hands",
		"deletes last":             "one key many times",
		"clears last":              "rows of a parent go",
		"skip refused":             "refused: check violated",
		"refusal without key":      "refused: unique value taken",
		"empty batch ignored":      "batches without actions",
		"empty action not counted": "the accounts balance",
		"drop drops all":           "drop",
		"leaves a goroutine":       "no goroutine left",
		"unquoted":                 "awkward values",
	})
}

func caught(t *testing.T, suite string, flaws map[string]string) {
	t.Helper()
	for flaw, rule := range flaws {
		t.Run(flaw, func(t *testing.T) {
			name := strings.ReplaceAll(rule, " ", "_")
			cmd := exec.Command(os.Args[0], "-test.run", "^"+suite+"$/^"+regexp.QuoteMeta(name)+"$", "-test.timeout", "60s")
			cmd.Env = append(os.Environ(), flawVar+"="+flaw)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the flaw passed the rule %q:\n%s", rule, out)
			}
			if !strings.Contains(string(out), "--- FAIL: "+suite+"/"+name+" ") {
				t.Fatalf("the flaw did not fail the rule %q but something else:\n%s", rule, out)
			}
		})
	}
}
