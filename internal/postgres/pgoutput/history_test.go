package pgoutput

import (
	"slices"
	"strings"
	"testing"
)

func TestParseHistory(t *testing.T) {
	const file = "# a comment\n1\t0/3000158\tno recovery target specified\n\n" +
		"  2\t16/B374D848\tbefore 2024-02-29 12:00:00+00\n3\t16/B374D848\n"
	got, err := ParseHistory([]byte(file))
	want := []Fork{{1, 0x3000158}, {2, 0x16_B374_D848}, {3, 0x16_B374_D848}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %v, %v\nwant %v", got, err, want)
	}
	if end, ok := ForkOf(got, 2); !ok || end != 0x16_B374_D848 {
		t.Errorf("timeline 2 ended at %s, %v", end, ok)
	}
	for _, timeline := range []uint32{0, 4} {
		if end, ok := ForkOf(got, timeline); ok || end != 0 {
			t.Errorf("timeline %d, no ancestor, ended at %s", timeline, end)
		}
	}
	if none, err := ParseHistory(nil); err != nil || len(none) != 0 {
		t.Errorf("nothing gives %v, %v", none, err)
	}
}

func TestParseHistoryErrors(t *testing.T) {
	for file, want := range map[string]string{
		"one\t0/1\n":         `line 1: "one" is no timeline`,
		"0\t0/1\n":           `line 1: "0" is no timeline`,
		"4294967296\t0/1\n":  `is no timeline`,
		"\n1\n":              "line 2: where timeline 1 was left is missing",
		"1\tnowhere\n":       `"nowhere" is no place`,
		"2\t0/1\n1\t0/2\n":   "line 2: timeline 1 at 0/2 does not follow timeline 2 at 0/1",
		"1\t0/1\n1\t0/2\n":   "does not follow",
		"1\t0/2\n2\t0/1\tx":  "does not follow",
		"1\t0/100000000\n":   "is no place",
		"1\t0/1\n2 \x00 x\n": "is no place",
	} {
		if got, err := ParseHistory([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, %v; want %s", file, got, err, want)
		}
	}
}

func TestLSN(t *testing.T) {
	for text, want := range map[string]LSN{"0/0": 0, "16/B374D848": 0x16_B374_D848, "FFFFFFFF/FFFFFFFF": 1<<64 - 1, "A/B": 0xA_0000_000B} {
		got, err := ParseLSN(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s gives %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/", "1", "1/", "/1", "0/100000000", "100000000/0", "0/-1", "0/+1", "0/ 1", "g/0", "1/2/3", "0x1/0"} {
		if got, err := ParseLSN(text); err == nil {
			t.Errorf("%q gives %s", text, got)
		}
	}
}
