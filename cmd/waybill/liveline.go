package main

import (
	"fmt"
	"io"
	"sync"
)

// liveLine is stderr with one line at its end that is drawn over and over. Other output
// wipes the line first, so that log lines and progress do not mix.
type liveLine struct {
	mu    sync.Mutex
	w     io.Writer
	shown bool
}

// Write implements io.Writer.
func (l *liveLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	return l.w.Write(p)
}

// show replaces the line; an empty one wipes it.
func (l *liveLine) show(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wipe()
	if line != "" {
		fmt.Fprint(l.w, line)
		l.shown = true
	}
}

func (l *liveLine) wipe() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// watched reports whether people watch the stream.
func (l *liveLine) watched() bool { return terminal(l.w) }
