package pump

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/waybill-data/waybill"
)

// State is what a pipeline is doing.
type State string

// The states; doc.go draws the ways between them.
const (
	Starting State = "starting"
	Running  State = "running"
	Waiting  State = "waiting"
	Standby  State = "standby"
	Paused   State = "paused"
	Stopped  State = "stopped"
	Failed   State = "failed"
	Done     State = "done"
)

// Status is one look at a pipeline.
type Status struct {
	Pipeline string    `json:"pipeline"`
	Target   string    `json:"target"`
	Stream   string    `json:"stream"`
	State    State     `json:"state"`
	Error    string    `json:"error,omitempty"`
	Since    time.Time `json:"since"` // when State was entered
	// Paused: the pipeline was asked to pause. The state says so once no write is under way.
	Paused bool `json:"paused"`

	Position waybill.Position `json:"position"`
	Seq      uint64           `json:"seq"` // of the last action written

	// Counted since the engine started.
	Actions    uint64 `json:"actions"`
	Changes    uint64 `json:"changes"`
	Batches    uint64 `json:"batches"`
	Bytes      uint64 `json:"bytes"`
	Retries    uint64 `json:"retries"`
	Suppressed uint64 `json:"suppressed"` // applied before, so not delivered again
	Filtered   uint64 `json:"filtered"`   // of Actions, those of which nothing was left to apply

	// ForeignWrites is how many changes found the target other than the stream had left it, since
	// the stream began.
	ForeignWrites uint64 `json:"foreign_writes"`
	// Slot is what the source keeps of its log; nil where it does not, or it is not known yet.
	Slot *Slot `json:"slot,omitempty"`

	Backlog int64 `json:"backlog"` // actions waiting at the source, -1 unknown
	// AtLeast: Backlog is a lower bound, because counting stopped there, or because the hop failed
	// and nobody counts any more.
	AtLeast bool `json:"at_least"`
	// LagSeconds is the age of the oldest waiting action now, 0 without any. A source that cannot
	// count is asked only whether anything waits: then it is the most that the age can be. A hop that failed while
	// none was known lags since then.
	LagSeconds float64 `json:"lag_seconds"`
	CaughtUp   bool    `json:"caught_up"`

	LastProgress time.Time `json:"last_progress"` // the last write, or the start
	Rate         float64   `json:"rate"`          // actions per second, over about 10 s
	// Seconds from the source recording an action to the target holding it durably, by the
	// two machines' clocks, over the last actions; 0 before the first.
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
	// LatencySum is the sum of those times over all Actions, in seconds.
	LatencySum float64 `json:"latency_sum_seconds"`
}

// Slot is what a source keeps of its log for a stream.
type Slot struct {
	Name        string `json:"name"`
	Status      string `json:"status"` // PostgreSQL's wal_status: reserved, extended, unreserved, lost
	Retained    int64  `json:"retained_bytes"`
	Unconfirmed int64  `json:"unconfirmed_bytes"`
	Limit       int64  `json:"limit_bytes"` // 0: none
	Alarm       bool   `json:"alarm"`       // more is retained than the limit, or the slot is lost
}

const (
	latencyWindow = 4096             // actions of which latencies are kept
	rateWindow    = 10 * time.Second // over which Rate is taken
	remindEvery   = time.Minute      // how often a writer that is held back is said
)

// Meter counts what one pipeline does. All methods may be called concurrently.
type Meter struct {
	mu        sync.Mutex
	status    Status
	latencies []float64 // ring of the last latencyWindow
	next      int
	rates     []ratePoint
	oldest    time.Time        // when the oldest waiting action was recorded, zero without any
	counted   uint64           // status.Actions when Backlog was counted
	lastTime  time.Time        // when the last action written was recorded
	lacks     time.Time        // when the action was recorded that could not be written
	failing   map[string]error // what is being tried again
	gate      *Gate
	reminded  time.Time
	now       func() time.Time
}

type ratePoint struct {
	at      time.Time
	actions uint64
}

// NewMeter returns a meter in the state Starting.
func NewMeter(pipeline, target string) *Meter {
	m := &Meter{now: time.Now, failing: map[string]error{}}
	m.status = Status{
		Pipeline: pipeline, Target: target, Stream: pipeline + "/" + target,
		State: Starting, Since: m.now(), Backlog: -1, LastProgress: m.now(),
	}
	return m
}

// watch lets the meter show what the gate does.
func (m *Meter) watch(g *Gate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = g
}

// Snapshot is the status now.
func (m *Meter) Snapshot() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.status
	closed, inside, since := m.gate.look()
	s.Paused = closed
	if closed && !inside && (s.State == Running || s.State == Waiting) {
		s.State = Paused
		if since.After(s.Since) {
			s.Since = since
		}
	}
	if n := len(m.latencies); n > 0 {
		sorted := slices.Clone(m.latencies)
		slices.Sort(sorted)
		s.P50, s.P99 = sorted[n/2], sorted[n*99/100]
	}
	if !m.oldest.IsZero() {
		s.LagSeconds = max(0, m.now().Sub(m.oldest).Seconds())
	}
	m.trimRates()
	if len(m.rates) > 0 {
		if d := m.now().Sub(m.rates[0].at).Seconds(); d > 0 {
			s.Rate = float64(s.Actions-m.rates[0].actions) / d
		}
	}
	return s
}

// SetState moves the pipeline to a state; err is what brought it there, or nil.
func (m *Meter) SetState(s State, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setState(s, err)
}

func (m *Meter) setState(s State, err error) {
	m.status.Error = ""
	if err != nil {
		m.status.Error = err.Error()
	}
	if m.status.State != s {
		m.status.State, m.status.Since = s, m.now()
		m.settle(err)
	}
}

// settle makes what is known of the backlog fit a state in which nobody counts.
func (m *Meter) settle(err error) {
	s := &m.status
	switch s.State {
	case Standby: // the other engine knows
		s.Backlog, s.AtLeast, s.CaughtUp, m.oldest = -1, false, false, time.Time{}
	case Done:
		s.Backlog, s.AtLeast, s.CaughtUp, m.oldest = 0, false, true, time.Time{}
	case Failed:
		least := int64(0)
		if refusal := (*waybill.Refusal)(nil); !m.lacks.IsZero() || errors.As(err, &refusal) {
			least = 1
		}
		s.Backlog, s.AtLeast, s.CaughtUp = max(m.known(), least), true, false
		switch {
		case !m.lacks.IsZero():
			m.oldest = m.lacks
		case m.oldest.IsZero(): // what comes from now on waits
			m.oldest = m.now()
		}
	default:
	}
}

// retrying notes that doing failed for a moment: the pipeline waits until it recovered.
func (m *Meter) retrying(doing string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !soon(err) { // to stand by, or to be held back, is no failure
		m.status.Retries++
	}
	m.failing[doing] = err
	if m.status.State != Standby {
		m.setState(Waiting, err)
	}
}

// remind reports whether it is time to say again what was said before.
func (m *Meter) remind() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.reminded.IsZero() && m.now().Sub(m.reminded) < remindEvery {
		return false
	}
	m.reminded = m.now()
	return true
}

func (m *Meter) recovered(doing string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.failing, doing)
	if m.status.State == Waiting && len(m.failing) == 0 {
		m.setState(Running, nil)
	}
}

// finish turns the way a run ended into a state and into what Run returns.
func (m *Meter) finish(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		m.SetState(Stopped, nil)
		return nil //nolint:nilerr // what a stop interrupted is no error
	case err != nil:
		m.SetState(Failed, err)
	default:
		m.SetState(Done, nil)
	}
	return err
}

func (m *Meter) suppressed(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Suppressed = n
}

// position is what is written up to, and how many actions were written since the engine started.
func (m *Meter) position() (p waybill.Position, actions uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status.Position, m.status.Actions
}

func (m *Meter) resumedAt(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Seq = seq
}

func (m *Meter) resumed(p waybill.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Position = p
	m.lacks = time.Time{}
}

func (m *Meter) caughtUp(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.CaughtUp = yes
}

// waiting notes what waited at the source when written actions were written; most is where it stops
// counting, 0 nowhere.
func (m *Meter) waiting(n, most int64, oldest time.Duration, written uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.Backlog, m.status.AtLeast, m.counted, m.oldest = n, most > 0 && n >= most, written, time.Time{}
	if n > 0 {
		m.oldest = m.now().Add(-oldest)
	}
}

// known is how many of the waiting actions that were counted are not written.
func (m *Meter) known() int64 { return m.status.Backlog - int64(m.status.Actions-m.counted) }

// outdated reports whether all that was known to wait is written.
func (m *Meter) outdated() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status.Backlog > 0 && m.known() <= 0
}

// lacking notes that b's first action could not be written.
func (m *Meter) lacking(b *waybill.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(b.Actions) > 0 {
		m.lacks = b.Actions[0].Time
	}
	if m.lacks.IsZero() { // the source does not say when
		m.lacks = m.now()
	}
}

func (m *Meter) wrote(b *waybill.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	s := &m.status
	s.Position, s.Seq, s.LastProgress = b.Upto, b.LastSeq(s.Seq), now
	s.Batches++
	s.Actions += uint64(len(b.Actions))
	for i := range b.Actions {
		a := &b.Actions[i]
		s.Changes += uint64(a.Len())
		s.Bytes += uint64(a.Size)
		if a.Len() == 0 {
			s.Filtered++
		}
		m.latency(max(0, now.Sub(a.Time).Seconds()))
		if !m.oldest.IsZero() && a.Time.After(m.oldest) { // what waits is no older than what was written
			m.oldest = a.Time
		}
	}
	if n := len(b.Actions); n > 0 {
		m.lastTime = b.Actions[n-1].Time
	}
	m.lacks = time.Time{}
	if n := len(m.rates); n == 0 || now.Sub(m.rates[n-1].at) > rateWindow/20 {
		m.trimRates()
		m.rates = append(m.rates, ratePoint{now, s.Actions - uint64(len(b.Actions))})
	}
}

func (m *Meter) latency(seconds float64) {
	m.status.LatencySum += seconds
	if len(m.latencies) < latencyWindow {
		m.latencies = append(m.latencies, seconds)
		return
	}
	m.latencies[m.next] = seconds
	m.next = (m.next + 1) % latencyWindow
}

func (m *Meter) trimRates() {
	old := 0
	for old < len(m.rates) && m.now().Sub(m.rates[old].at) > rateWindow {
		old++
	}
	m.rates = append(m.rates[:0], m.rates[old:]...)
}

type meteredReader struct {
	waybill.Reader
	meter *Meter
}

func (r *meteredReader) Open(ctx context.Context, after waybill.Position) error {
	r.meter.resumed(after)
	return r.Reader.Open(ctx, after)
}

type meteredWriter struct {
	waybill.Writer
	meter *Meter
}

func (w *meteredWriter) Write(ctx context.Context, b waybill.Batch) error {
	err := w.Writer.Write(ctx, b)
	if err == nil {
		w.meter.wrote(&b)
	}
	return err
}
