package pump

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrPaused ends a run under UntilCaughtUp that is paused with actions left to write.
var ErrPaused = errors.New("paused")

// Gate holds a stream before its next write, while its lease and its reader stay. It begins
// open. All methods may be called concurrently. A nil Gate is open.
type Gate struct {
	mu     sync.Mutex
	closed bool
	inside bool // a write is under way
	since  time.Time
	turned chan struct{} // closed and replaced when anything of the above changes
}

// NewGate returns an open gate.
func NewGate() *Gate { return &Gate{turned: make(chan struct{})} }

// Set closes the gate (paused) or opens it, and reports whether that changed anything. A
// write under way goes on to its end; Settled waits for that.
func (g *Gate) Set(paused bool) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == paused {
		return false
	}
	g.closed, g.since = paused, time.Now()
	g.turn()
	return true
}

// Paused reports whether the gate is closed.
func (g *Gate) Paused() bool {
	closed, _, _ := g.look()
	return closed
}

// Settled waits until the gate is open, or closed with no write under way, and reports
// whether it came to that before ctx ended.
func (g *Gate) Settled(ctx context.Context) bool {
	for {
		g.mu.Lock()
		settled, turned := !g.closed || !g.inside, g.turned
		g.mu.Unlock()
		if settled {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-turned:
		}
	}
}

// look tells whether the gate is closed, since when, and whether a write is under way.
func (g *Gate) look() (closed, inside bool, since time.Time) {
	if g == nil {
		return false, false, time.Time{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed, g.inside, g.since
}

// turning is closed when what look tells changes; nil: never.
func (g *Gate) turning() <-chan struct{} {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.turned
}

func (g *Gate) turn() {
	close(g.turned)
	g.turned = make(chan struct{})
}

// enter waits until the gate is open and begins a write; leave ends it. Without patience a
// closed gate is ErrPaused.
func (g *Gate) enter(ctx context.Context, stream string, patient bool) error {
	if g == nil {
		return nil
	}
	for {
		g.mu.Lock()
		if !g.closed {
			g.inside = true
			g.mu.Unlock()
			return nil
		}
		turned := g.turned
		g.mu.Unlock()
		if !patient {
			return fmt.Errorf("stream %s is %w with actions left to write; let it go on with: waybill resume %[1]s", stream, ErrPaused)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-turned:
		}
	}
}

func (g *Gate) leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside = false
	if g.closed {
		g.turn()
	}
}
