package sqlite

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	waybill "github.com/waybill-data/waybill"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/NAME. What is kept there is in people's databases: a
// difference is a migration.
func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(path, []byte(have), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s has changed; if that is meant, give it a new version and a migration, and run with -update\nhave\n%s", path, have)
	}
}

func TestGoldenSchemas(t *testing.T) {
	golden(t, "outbox.sql", outboxSQL)
	golden(t, "target.sql", targetDDL)
}

func TestGoldenPosition(t *testing.T) {
	var lines []string
	for _, p := range []point{
		{V: 1, Source: "sqlite:6f1c0f4e2a", N: 0, Seq: 0, Action: ""},
		{V: 1, Source: "sqlite:6f1c0f4e2a", N: 42, Seq: 17, Action: "8b9d3a"},
		{V: 1, Source: "sqlite:6f1c0f4e2a", N: 9223372036854775807, Seq: 18446744073709551615, Action: `<"ключ" & \>`},
	} {
		text := p.position()
		lines = append(lines, string(text)+"\n")
		back, err := parsePosition(text)
		if err != nil || back != p {
			t.Errorf("%s reads as %+v, %v", text, back, err)
		}
	}
	golden(t, "positions.jsonl", strings.Join(lines, ""))
}

func TestPositionErrors(t *testing.T) {
	for _, p := range []waybill.Position{
		"x", "{}{}", `{"v":2,"source":"sqlite:a"}`, `{"v":1,"source":"sqlite:a","n":-1}`, `{"v":1,"source":"sqlite:a","extra":1}`,
		`{"v":0,"source":"sqlite:a"}`, `{"v":1,"source":"sqlite:a"} {}`,
	} {
		if pt, err := parsePosition(p); err == nil {
			t.Errorf("%s reads as %+v", p, pt)
		}
	}
	if pt, err := parsePosition(`{"v":1,"source":"postgres:1/2","lsn":"0/1"}`); err != nil || pt.Source != "postgres:1/2" {
		t.Errorf("a foreign position reads as %+v, %v", pt, err)
	}
}
