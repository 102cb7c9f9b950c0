package pump

import (
	"context"
	"time"

	"github.com/waybill-data/waybill"
)

// What the pump can tell of a source that keeps a log: how much of it is kept, and whether
// anything waits there, though it cannot be counted.

// lostSlot is PostgreSQL's word for a slot of which the log is gone.
const lostSlot = "lost"

// sampleSlot keeps the meter's view of what the source retains fresh until ctx ends. It has a
// goroutine of its own: a source that answers late delays nothing else.
func (p *pump) sampleSlot(ctx context.Context) {
	tick := time.NewTicker(max(p.Sample, 1))
	defer tick.Stop()
	for {
		if kept, err := p.retainer.Retained(ctx); err == nil {
			if p.Meter.retained(kept) {
				p.Log.Warn("the source keeps more of its log for this stream than max_slot_bytes; see whether the target keeps up, and whether the source's disk has room",
					"stream", p.Stream, "slot", kept.Slot, "status", kept.Status, "retained_bytes", kept.Bytes, "limit_bytes", kept.Limit)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// retained notes what the source keeps, and reports whether an alarm is due that was not before.
func (m *Meter) retained(r waybill.Retained) (alarm bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.status.Slot
	m.status.Slot = &Slot{
		Name: r.Slot, Status: r.Status, Retained: r.Bytes, Unconfirmed: r.Unconfirmed, Limit: r.Limit,
		Alarm: r.Limit > 0 && r.Bytes > r.Limit || r.Status == lostSlot,
	}
	return m.status.Slot.Alarm && (before == nil || !before.Alarm)
}

// foreign notes how many changes found the target other than the stream had left it.
func (m *Meter) foreign(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.ForeignWrites = n
}

// uncounted is what is known of a source that has no Backlog: its head at a time, and since when
// all that came before it is written.
type uncounted struct {
	head    waybill.Position
	asked   time.Time
	reached time.Time // when the newest head that is reached was asked for; first, when it began
}

// look sees whether what the source held when it was asked is written. The head of a log moves
// without actions too, so that what is not reached at once is waited for until the next look:
// reading the head makes the reader hand on a position that reaches it.
func (u *uncounted) look(p *pump, again bool) {
	pos, _ := p.Meter.position()
	switch {
	case u.head == "":
	case p.r.Reached(pos, u.head):
		u.reached = u.asked
		p.Meter.waitsNone()
	case again:
		p.Meter.waitsSome(u.reached)
	}
}

// waitsNone notes that everything is written that the source held when it was last asked.
func (m *Meter) waitsNone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.status
	s.CaughtUp, s.Backlog, s.AtLeast, m.counted, m.oldest = true, 0, false, s.Actions, time.Time{}
}

// waitsSome notes that something waits: at least one action, which is no older than what was
// written last, nor than since, when nothing waited.
func (m *Meter) waitsSome(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.status
	s.CaughtUp, s.Backlog, s.AtLeast, m.counted = false, 1, true, s.Actions
	m.oldest = since
	if m.lastTime.After(since) {
		m.oldest = m.lastTime
	}
}
