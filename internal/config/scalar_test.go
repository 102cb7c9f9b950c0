package config

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0B": 0, "7B": 7, "1KiB": 1 << 10, "64MiB": 64 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40, "8388607TiB": 8388607 << 40,
		"": -1, "1": -1, "MiB": -1, "1MB": -1, "1 MiB": -1, "1.5MiB": -1, "-1MiB": -1, "1mib": -1, "8388608TiB": -1, "999999999999999999B": 999999999999999999,
		"9999999999999999999B": -1, "1MiB ": -1, "٣MiB": -1,
	} {
		got, ok := parseSize(in)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, ok, want)
		}
	}
}

func TestFormat(t *testing.T) {
	for in, want := range map[int64]string{0: "0B", 1: "1B", 1 << 10: "1KiB", 1<<10 + 1: "1025B", 4 << 20: "4MiB", math.MaxInt64: "9223372036854775807B"} {
		if got := formatSize(in); got != want {
			t.Errorf("formatSize(%d) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{0: "0s", time.Minute: "1m", time.Hour: "1h", 10 * time.Second: "10s", 90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s"} {
		if got := formatDuration(int64(in)); got != want {
			t.Errorf("formatDuration(%v) = %s, want %s", in, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:7780": "loopback", "127.8.0.1:0": "loopback", "[::1]:1": "loopback", "localhost:80": "loopback", "LOCALHOST:80": "loopback",
		":7780": "open", "0.0.0.0:80": "open", "[::]:80": "open", "10.0.0.1:80": "open", "crm.example.com:80": "open", "127.1:80": "open",
		"localhost.example.com:80": "open", "[fe80::1%eth0]:80": "open",
		"": "bad", "127.0.0.1": "bad", "localhost:http": "bad", "127.0.0.1:65536": "bad", "127.0.0.1:-1": "bad", "a b:80": "bad",
		"::1:80": "bad", "127.0.0.1:": "bad", "user@host:80": "bad", "http://127.0.0.1:80": "bad", "-a:80": "bad", "127.0.0.1:+1": "bad",
	} {
		got := "open"
		if addressProblem(in) != "" {
			got = "bad"
		} else if loopback(in) {
			got = "loopback"
		}
		if got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"a$$b$$$$":               "a$b$$",
		"${NUMBER}":              "250",
		"x${NUMBER}y${NUMBER}z":  "x250y250z",
		"${EMPTY}":               "",
		"${EMPTY:-d}":            "d",
		"${UNSET:-}":             "",
		"${UNSET:-a:-b$$c d}":    "a:-b$c d",
		"${NUMBER:-d}":           "250",
		"${WITH_DOLLAR}":         "SECRET-${TOKEN}",
		"$${NUMBER}":             "${NUMBER}",
		"${UNSET}":               "unset UNSET",
		"${UNSET} ${ALSO_UNSET}": "unset UNSET ALSO_UNSET",
		"$":                      "problem",
		"$NUMBER":                "problem",
		"${":                     "problem",
		"${}":                    "problem",
		"${1A}":                  "problem",
		"${A B}":                 "problem",
		"${NUMBER-d}":            "problem",
		"${NUMBER:d}":            "problem",
		"${UNSET:-${NUMBER}}":    "problem",
		"${UNSET:-$}":            "problem",
		"a$$$":                   "problem",
	} {
		x := expand(in, testEnv)
		got := x.text
		if x.problem != "" {
			got = "problem"
		} else if len(x.unset) > 0 {
			got = "unset " + strings.Join(x.unset, " ")
		}
		if got != want {
			t.Errorf("expand(%q) = %q (%s), want %q", in, got, x.problem, want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"pattern", "source", "target", "on_refusal", "batch", "url"}
	for in, want := range map[string]string{
		"sorce": "source", "SOURCE": "source", "tagret": "target", "onrefusal": "on_refusal", "batches": "", "batchs": "batch", "ulr": "url",
		"u": "", "colour": "", "": "", strings.Repeat("source", 20): "", "sink": "",
	} {
		if got := nearest(in, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
