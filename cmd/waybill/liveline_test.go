package main

import (
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/config"
	"github.com/waybill-data/waybill/internal/pump"
)

// TestLiveLine: whatever else is written wipes the line first.
func TestLiveLine(t *testing.T) {
	var b strings.Builder
	l := &liveLine{w: &b}
	l.show("one")
	l.show("two")
	if _, err := l.Write([]byte("log\n")); err != nil {
		t.Fatal(err)
	}
	l.show("three")
	l.show("")
	const wipe = "\r\x1b[K"
	if want := "one" + wipe + "two" + wipe + "log\nthree" + wipe; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	if l.watched() {
		t.Error("a buffer passes for a terminal")
	}
}

// TestLiveLines: of several lines each is wiped, from the last one up.
func TestLiveLines(t *testing.T) {
	var b strings.Builder
	l := &liveLine{w: &b}
	l.show("one\ntwo\nthree")
	l.show("four")
	l.show("")
	l.show("")
	const wipe, up = "\r\x1b[K", "\x1b[A"
	if want := "one\ntwo\nthree" + wipe + up + wipe + up + wipe + "four" + wipe; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestProgressLine(t *testing.T) {
	e := &engine{}
	for _, name := range []string{"crm", "erp"} {
		e.workers = append(e.workers, newWorker(&config.Pipeline{Name: name, Targets: []config.Target{{Name: "sqlite"}}}))
	}
	e.workers[1].hops[0].meter.SetState(pump.Running, nil)
	if got, want := e.progressLine(), "crm starting, 0 written · erp running, 0 written at 0/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	e.workers[0].pipeline.Targets = append(e.workers[0].pipeline.Targets, config.Target{Name: "b"})
	e.workers[0] = newWorker(e.workers[0].pipeline)
	if got, want := e.progressLine(), "crm/sqlite starting, 0 written · crm/b starting, 0 written · erp/sqlite running, 0 written at 0/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for range 20 {
		e.workers = append(e.workers, e.workers[0])
	}
	if n := len([]rune(e.progressLine())); n > 110 {
		t.Errorf("%d characters", n)
	}
}
