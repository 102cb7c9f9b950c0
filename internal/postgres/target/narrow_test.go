package target

import "testing"

// What a column keeps as it is, and what it would change, of values that look alike.
func TestNarrowed(t *testing.T) {
	scale := func(precision, scale int32) int32 { return 4 + (precision<<16 | scale&0x7ff) }
	for _, c := range []struct {
		base   uint32
		typmod int32
		text   string
		keeps  bool
	}{
		{oidSingleChar, -1, "a", true},
		{oidSingleChar, -1, `\351`, true},
		{oidSingleChar, -1, `\952`, false},
		{oidSingleChar, -1, "ab", false},
		{oidFloat8, -1, "9.999999999999999e+22", true}, // 1e23
		{oidFloat8, -1, "0.10000000000000001", true},
		{oidFloat8, -1, "0.10000000000000004", false},
		{oidFloat8, -1, "0.100000000000000005", false},
		{oidFloat8, -1, "9007199254740993", false},
		{oidFloat4, -1, "0.100000001", true},
		{oidFloat4, -1, "16777217", false},
		{oidNumeric, scale(5, -2), "0", true},
		{oidNumeric, scale(5, -2), "NaN", true},
		{oidNumeric, scale(5, -2), "1200", true},
		{oidNumeric, scale(5, -2), "1250", false},
	} {
		col := targetColumn{base: c.base, typmod: c.typmod}
		if why := col.narrowed([]byte(c.text)); (why == "") != c.keeps {
			t.Errorf("type %d(%d) keeps %q: %v, it says %q", c.base, c.typmod, c.text, c.keeps, why)
		}
	}
}
