package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readEvery    = 50 * time.Millisecond
	readTimeout  = 2 * time.Second  // an engine may be frozen
	statusLimit  = 1 << 20          // bytes of an answer
	gaugeTimeout = 30 * time.Second // for what is awaited of the queue
	freshLooks   = 2                // the first of them may have begun before
	slotLength   = 100 * time.Millisecond
	maxSlots     = int((MaxFor + time.Hour) / slotLength)
)

// level is what waits in the queue for one target.
type level struct {
	Actions int64 `json:"actions"`
	Bytes   int64 `json:"bytes"`
}

// gauge reads, from the status of whichever engine is at work, how full the queue is. Between
// two engines it stands where it stood: what is in the queue is on disk.
type gauge struct {
	client *http.Client
	began  time.Time
	// limit is how much can wait for the target of a stream at most: a consumer whose last words
	// went down with an engine seems to lack what it has.
	limit func(stream string) int64

	mu     sync.Mutex
	now    *process      // whom to ask
	from   *process      // who said what follows
	looks  int64         // of the engine at the queue that differed from the one before
	said   string        // the last of these
	next   chan struct{} // closed by the next reading
	levels map[string]level
	peaks  map[string]level
	course map[string][]int64 // the highest number of actions in each slot of time

	away  atomic.Bool // the CRM is
	aways []int64     // 1 in each slot in which it was
	kills []int64     // 1 in each slot in which the engine was killed
}

func newGauge(limit func(stream string) int64) *gauge {
	return &gauge{
		// No proxy from the environment, and nothing kept of an engine that was killed.
		client: &http.Client{Transport: &http.Transport{}, Timeout: readTimeout},
		began:  time.Now(), limit: limit, next: make(chan struct{}),
		levels: map[string]level{}, peaks: map[string]level{}, course: map[string][]int64{},
	}
}

// of sets whom to ask.
func (g *gauge) of(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = p
}

// run reads until ctx ends. An engine that does not answer is being killed, or started.
func (g *gauge) run(ctx context.Context) {
	defer g.client.CloseIdleConnections()
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g.mu.Lock()
		p := g.now
		g.mu.Unlock()
		if p == nil || p.dead() {
			continue
		}
		if addr := p.answersAt(); addr != "" {
			if levels, said, err := g.read(ctx, addr); err == nil {
				g.note(p, levels, said)
			}
		}
	}
}

// read asks for the consumers of all queues; there is one queue. The engine says again and again
// what it saw when it looked last; each look where something waits has said of its own, by
// the age of what waits.
func (g *gauge) read(ctx context.Context, addr string) (_ map[string]level, said string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	var answer struct {
		Queues []struct {
			Known     bool `json:"known"`
			Consumers []struct {
				Consumer string  `json:"consumer"`
				Depth    int64   `json:"depth"`
				Bytes    int64   `json:"bytes"`
				Oldest   float64 `json:"oldest_seconds"`
			} `json:"consumers"`
		} `json:"queues"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, statusLimit)).Decode(&answer); err != nil {
		return nil, "", err
	}
	levels := map[string]level{}
	for _, q := range answer.Queues {
		for _, c := range q.Consumers {
			if q.Known {
				levels[c.Consumer] = level{c.Depth, c.Bytes}
			}
		}
	}
	return levels, fmt.Sprint(answer), nil
}

// note takes a reading, unless it tells nothing yet.
func (g *gauge) note(p *process, levels map[string]level, said string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(levels) == 0 || p != g.now {
		return
	}
	g.from = p
	if said != g.said {
		g.said = said
		g.looks++
	}
	slot := g.slot(time.Now())
	for name, l := range levels {
		if most := max(g.limit(name), 0); l.Actions > most {
			l = level{most, l.Bytes * most / l.Actions}
		}
		stood := g.levels[name].Actions
		g.levels[name] = l
		if peak := g.peaks[name]; l.Actions > peak.Actions {
			g.peaks[name] = l
		}
		course := g.course[name]
		for len(course) <= slot { // what was not read stood still
			course = append(course, stood)
		}
		course[slot] = max(course[slot], l.Actions)
		g.course[name] = course
	}
	close(g.next)
	g.next = make(chan struct{})
}

func (g *gauge) slot(at time.Time) int { return min(int(at.Sub(g.began)/slotLength), maxSlots) }

// mark sets slots from the moment given to now.
func (g *gauge) mark(slots *[]int64, from time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first, last := g.slot(from), g.slot(time.Now())
	for len(*slots) <= last {
		*slots = append(*slots, 0)
	}
	for i := first; i <= last; i++ {
		(*slots)[i] = 1
	}
}

// killed notes that the engine was killed now.
func (g *gauge) killed() { g.mark(&g.kills, time.Now()) }

// wasAway notes that the CRM was away until now.
func (g *gauge) wasAway(from time.Time) { g.mark(&g.aways, from) }

// level is what waits for the target of a stream.
func (g *gauge) level(stream string) level {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.levels[stream]
}

func (g *gauge) peak(stream string) level {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peaks[stream]
}

// await reads until ok says so of what p, an engine at work, says of a stream. With fresh, something
// must wait, and the engine must have looked after the call.
func (g *gauge) await(ctx context.Context, p *process, stream string, fresh bool, ok func(level) bool) (level, error) {
	timer := time.NewTimer(gaugeTimeout)
	defer timer.Stop()
	g.mu.Lock()
	next, looks := g.next, g.looks
	g.mu.Unlock()
	for {
		select {
		case <-next:
		case <-p.over:
			return level{}, &engineError{p.complaint()}
		case <-timer.C:
			return level{}, &engineError{fmt.Sprintf("the queue did not get where it should within %s; for %s %d actions wait", gaugeTimeout, stream, g.level(stream).Actions)}
		case <-ctx.Done():
			return level{}, ctx.Err()
		}
		g.mu.Lock()
		l, known := g.levels[stream]
		answered := known && g.from == p && (!fresh || g.looks >= looks+freshLooks)
		next = g.next
		g.mu.Unlock()
		if answered && ok(l) {
			return l, nil
		}
	}
}

// anyLevel is for a reading as such.
func anyLevel(level) bool { return true }

// course is what happened, in columns of equal time.
type course struct{ crm, warehouse, away, kills []int64 }

func (g *gauge) columns(n int) course {
	g.mu.Lock()
	defer g.mu.Unlock()
	slots := g.slot(time.Now()) + 1
	column := func(list []int64) []int64 { return squeeze(list, slots, n) }
	return course{column(g.course[toCRM]), column(g.course[toWarehouse]), column(g.aways), column(g.kills)}
}

// squeeze is a list of so many slots, whose last ones may be missing, in n columns: the highest of
// each.
func squeeze(list []int64, slots, n int) []int64 {
	n = min(n, slots)
	out := make([]int64, n)
	for i, v := range list {
		at := i * n / slots
		out[at] = max(out[at], v)
	}
	return out
}
