package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWrap(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("several words é → ", 40), strings.Repeat("x", 300) + " and more", "  spaces \n and lines  "} {
		got := wrap(s, 12, 14)
		if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(s), " ") {
			t.Errorf("%q became %q", s, got)
		}
		for i, line := range strings.Split(got, "\n") {
			if i == 0 {
				line = strings.Repeat(" ", 12) + line
			} else if !strings.HasPrefix(line, strings.Repeat(" ", 14)) {
				t.Errorf("line %d is not indented: %q", i, line)
			}
			if n := utf8.RuneCountInString(line); n > lineWidth && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("line %d has %d characters", i, n)
			}
			if strings.TrimRight(line, " ") != line && strings.TrimSpace(line) != "" {
				t.Errorf("line %d ends in a space", i)
			}
		}
	}
}
