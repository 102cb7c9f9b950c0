package main

import (
	"io"
	"strings"
	"sync"
)

// liveLine is stderr with a line, or a few, at its end that are drawn over and over. Other
// output wipes them first, so that log lines and progress do not mix.
type liveLine struct {
	mu    sync.Mutex
	w     io.Writer
	shown int // lines
}

// Write implements io.Writer.
func (l *liveLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown > 0 {
		_, _ = io.WriteString(l.w, l.wipe())
	}
	return l.w.Write(p)
}

// show replaces the lines, none of which may be wider than the screen; an empty text wipes them.
func (l *liveLine) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.wipe()
	if text != "" {
		l.shown = 1 + strings.Count(text, "\n")
	}
	if before+text != "" {
		_, _ = io.WriteString(l.w, before+text) // in one write, or it flickers
	}
}

const wiped = "\r\x1b[K"

// wipe is what removes the lines that are shown.
func (l *liveLine) wipe() string {
	if l.shown == 0 {
		return ""
	}
	up := strings.Repeat(wiped+"\x1b[A", l.shown-1)
	l.shown = 0
	return up + wiped
}

// watched reports whether people watch the stream.
func (l *liveLine) watched() bool { return terminal(l.w) }
