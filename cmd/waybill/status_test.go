package main

import "testing"

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1 << 10: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 8 << 20: "8 MiB", 100<<20 + 1: "100 MiB",
		1 << 30: "1 GiB", 8 << 30: "8 GiB", 1<<33 - 1: "8.0 GiB", 3 << 40: "3 TiB", 2000 << 40: "2000 TiB",
	} {
		if got := size(bytes); got != want {
			t.Errorf("size(%d) = %s, want %s", bytes, got, want)
		}
	}
}
