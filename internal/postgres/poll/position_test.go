package poll

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
)

// examples are what testdata/position.golden holds. Lines may be added to that file, never
// changed: positions are kept in targets.
var examples = []position{
	{source: "postgres:7711215509648822973/16384", timeline: 1, from: snapshot{xmax: 1}, to: snapshot{xmax: 1}},
	{
		source: "postgres:7711215509648822973/16384", timeline: 1, from: snapshot{xmax: 746}, to: snapshot{xmax: 746},
		seq: 2, id: "699b9c49-c39f-4d93-8593-ad60150f2996", xid: 745,
	},
	{
		source: "postgres:7711215509648822973/16384", timeline: 3,
		from: snapshot{xmax: 4294968000, xip: []uint64{4294967300, 4294967301}}, to: snapshot{xmax: 4294969000, xip: []uint64{4294967300}},
		ord: 9007199254740993, seq: 18000000000000000000, id: "5df43dac-d3da-4dc8-9fee-54e9f2c1a15e", xid: 4294967301,
	},
}

func TestPositionGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/position.golden")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(golden)), "\n")
	if len(lines) != len(examples) {
		t.Fatalf("%d lines for %d examples", len(lines), len(examples))
	}
	for i, p := range examples {
		if got := string(p.encode()); got != lines[i] {
			t.Errorf("encoded %s\nwant    %s", got, lines[i])
		}
		back, err := decodePosition(waybill.Position(lines[i]))
		if err != nil {
			t.Fatal(err)
		}
		if back.encode() != p.encode() || back.xid != p.xid {
			t.Errorf("decoded %+v, want %+v", back, p)
		}
	}
}

func TestPositionRefused(t *testing.T) {
	good := string(examples[2].encode())
	for name, s := range map[string]string{
		"other version":    strings.Replace(good, `"v":1`, `"v":2`, 1),
		"unknown field":    strings.Replace(good, `"v":1`, `"v":1,"x":1`, 1),
		"half":             good[:len(good)/2],
		"twice":            good + good,
		"empty object":     "{}",
		"only the version": `{"v":1}`,
		"other connector":  strings.Replace(good, "postgres:", "sqlite:", 1),
		"no window end":    strings.Replace(good, `"to":`, `"to_":`, 1),
		"ends before from": strings.Replace(good, "4294969000", "4294967999", 1),
		"no id":            strings.Replace(good, `"id":"5df43dac-d3da-4dc8-9fee-54e9f2c1a15e",`, "", 1),
		"bad snapshot":     strings.Replace(good, "4294967300:", "4294969001:", 1),
	} {
		if p, err := decodePosition(waybill.Position(s)); err == nil {
			t.Errorf("%s: %s was taken as %+v", name, s, p)
		}
	}
}

func snapshots(t *rapid.T, name string) snapshot {
	s := snapshot{xmax: rapid.Uint64Range(1, 12).Draw(t, name+" xmax")}
	for x := uint64(1); x < s.xmax; x++ {
		if rapid.Bool().Draw(t, name+" running") {
			s.xip = append(s.xip, x)
		}
	}
	return s
}

// A snapshot is judged by the set of transactions that it sees.
func TestSnapshotProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := snapshots(t, "a"), snapshots(t, "b")
		back, err := parseSnapshot(a.String())
		if err != nil || back.xmax != a.xmax || !slices.Equal(back.xip, a.xip) {
			t.Fatalf("%s was read back as %+v: %v", a, back, err)
		}
		covers := a.xmax >= b.xmax
		last := rapid.Uint64Range(0, 14).Draw(t, "last")
		cut := a.upTo(last)
		for x := uint64(1); x < 16; x++ {
			if b.sees(x) && !a.sees(x) {
				covers = false
			}
			if cut.sees(x) != (x <= last && a.sees(x)) {
				t.Fatalf("%s up to %d is %s, which differs at %d", a, last, cut, x)
			}
		}
		if a.covers(b) != covers {
			t.Fatalf("%s covers %s: %v", a, b, !covers)
		}
	})
}
