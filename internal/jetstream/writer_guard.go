package jetstream

import "time"

const (
	// guardWindow and guardBytes: of each window, the first so many bytes are written under the
	// subject's own sequence, so that a last message that was removed is noticed.
	guardWindow = 5 * time.Second
	guardBytes  = 1 << 20
	// guardPause bounds for how many writes a stream that others write to is left alone.
	guardPause = 1024
)

// guard chooses what a write is checked against: that the subject ends where the writer left
// it, or that the stream as a whole does, which implies it. For the former the server loads the
// subject's last message, and then keeps the whole block of 8 MiB in memory for ten seconds:
// at 50 MB/s, 500 MB.
type guard struct {
	last  uint64 // the stream's, after this writer's last write; 0: unknown
	begun time.Time
	bytes int
	pause int // writes to come under the subject's own sequence
	next  int // the pause after this one
}

// whole tells whether the write of so many bytes, which follows message expected, is checked
// against the stream as a whole.
func (g *guard) whole(expected uint64, bytes int) bool {
	if now := time.Now(); now.Sub(g.begun) > guardWindow {
		g.begun, g.bytes = now, 0
	}
	g.bytes += bytes
	if g.pause > 0 {
		g.pause--
		return false
	}
	return g.last > 0 && g.last == expected && g.bytes > guardBytes
}

// shared notes that others write to the stream.
func (g *guard) shared() {
	g.next = min(max(2*g.next, 1), guardPause)
	g.pause = g.next
}

// alone notes that they do not, at the moment.
func (g *guard) alone() { g.next /= 2 }
