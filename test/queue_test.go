package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill/test/judge"
)

// queueStream is the queue's JetStream stream where the configuration names none, and
// queueSubject what the pipeline "crm" writes there.
const (
	queueStream  = "waybill"
	queueSubject = "waybill.crm"
)

// newListening is a scenario whose queue an ordinary NATS client can reach.
func newListening(t testing.TB, c combo) *scenario {
	t.Helper()
	s := newScenario(t, c)
	s.listens()
	return s
}

// listens gives the queue an address.
func (s *scenario) listens() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.listen = l.Addr().String()
	if err := l.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.config = s.write("state", s.plan())
}

// client connects to the queue of a running engine as anybody can, and waits until it is made.
func (s *scenario) client() jetstream.JetStream {
	s.t.Helper()
	var nc *nats.Conn
	eventually(s.t, "the queue listens", func() (ok bool) {
		var err error
		nc, err = nats.Connect("nats://"+s.listen, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		return err == nil
	})
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the queue has its stream", func() bool {
		_, err := js.Stream(context.Background(), queueStream)
		return err == nil
	})
	return js
}

// event is what a foreign reader knows of a message.
type event struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Kind        string `json:"waybillkind"`
	Sequence    string `json:"sequence"`
	Data        []struct {
		Entity string         `json:"entity"`
		Row    map[string]any `json:"row"`
	} `json:"data"`
}

// held reads what the queue holds of the pipeline's actions, in order.
func (s *scenario) held(js jetstream.JetStream) []event {
	s.t.Helper()
	events, err := heldWithin(js, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

// heldWithin is held of an engine that may end meanwhile.
func heldWithin(js jetstream.JetStream, limit time.Duration) (events []event, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	stream, err := js.Stream(ctx, queueStream)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	for n := max(state.FirstSeq, 1); n <= state.LastSeq; n++ { // an empty stream begins at 0
		m, err := stream.GetMsg(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		var e event
		if err := json.Unmarshal(m.Data, &e); err != nil {
			return nil, fmt.Errorf("message %d is no event: %w: %s", n, err, m.Data)
		}
		if e.SpecVersion != "1.0" {
			return nil, fmt.Errorf("message %d is no event of CloudEvents 1.0: %s", n, m.Data)
		}
		if e.Kind == "" && m.Subject == queueSubject {
			events = append(events, e)
		}
	}
	return events, nil
}

// messages counts what the queue holds.
func (s *scenario) messages(js jetstream.JetStream) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, queueStream)
	if err != nil {
		s.t.Fatal(err)
	}
	return int(stream.CachedInfo().State.Msgs)
}

// TestRelayThenConsume: an engine that only relays fills the queue, another one that only consumes
// empties it, on the same directory one after the other; and in the end one that does both.
// What lies in the queue is what was committed, action by action, to anybody who looks.
func TestRelayThenConsume(t *testing.T) {
	for _, c := range []combo{queued[0], queued[3]} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			s := newListening(t, c)
			seen := s.watch()
			relay, consume := s.write("state", s.plan().relay()), s.write("state", s.plan().consume())
			committed := 0
			for round := range 2 {
				committed += s.load(&judge.Workload{Sessions: 2, Actions: 30, Seed: uint64(1 + round)}).Committed
				before := s.arrived()
				start(t, "", "run", "-f", relay, "--until-caught-up").want(0)
				if now := s.arrived(); !slices.Equal(now, before) {
					t.Fatalf("a relay brought %v to the targets, after %v", now, before)
				}
				if round == 0 {
					s.readAsAnybody(relay, committed)
				}
				start(t, "", "run", "-f", consume, "--until-caught-up").want(0)
				s.clean(committed)
			}
			committed += s.load(&judge.Workload{Sessions: 2, Actions: 30, Seed: 3}).Committed
			s.catchUp("").want(0)
			s.clean(committed)
			s.unseen(seen())
		})
	}
}

// readAsAnybody compares the queue, as an ordinary NATS client sees it, with what was committed.
func (s *scenario) readAsAnybody(config string, committed int) {
	s.t.Helper()
	e := start(s.t, "", "run", "-f", config)
	events := s.held(s.client())
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	ids, journal := map[string]bool{}, 0
	last := ""
	for _, ev := range events {
		ids[ev.ID] = true
		if ev.Sequence <= last {
			s.t.Fatalf("action %s is number %q after %q", ev.ID, ev.Sequence, last)
		}
		last = ev.Sequence
		for _, ch := range ev.Data {
			if ch.Entity == "journal" {
				journal++
			}
		}
	}
	if rows := s.number(s.source, `select count(*) from journal`); len(ids) != committed || len(events) != committed || journal != rows {
		s.t.Fatalf("%d events, %d of them different, with %d journal rows; committed were %d with %d", len(events), len(ids), journal, committed, rows)
	}
}

// TestTwoPipelinesOneQueue: a relay and a consumer as two pipelines of one engine.
func TestTwoPipelinesOneQueue(t *testing.T) {
	t.Parallel()
	s := newScenario(t, queued[0])
	in, out := s.plan().relay(), s.plan().consume()
	out.name = "fill"
	s.config = s.write("state", in, out)
	seen := s.watch()
	stop := s.background()
	e := s.run("")
	s.grows("the two pipelines work", e)
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	e = s.run("")
	s.grows("they go on after a restart", e)
	s.arrives(e, stop, seen)
}

// TestPause: one of two targets is paused under load. Its position stands still while the queue fills
// and the other target goes on, and it does so after a restart, too; resumed, it gets everything.
func TestPause(t *testing.T) {
	t.Parallel()
	s := newListening(t, queued[3])
	one, two := s.targets[0], s.targets[1]
	seen := s.watch()
	stop := s.background()
	e := s.run("")
	s.grows("the engine works", e)
	start(t, "", "pause", "crm/one", "-f", s.config).want(0)
	arrived, position := s.arrivedAt(one), s.positionAt(one)
	js := s.client()
	stands := func(when string) {
		t.Helper()
		from := s.arrivedAt(two)
		held := s.messages(js)
		eventually(t, "the other target goes on "+when, func() bool { return e.ended() || s.arrivedAt(two) > from+60 })
		eventually(t, "the queue fills "+when, func() bool { return e.ended() || s.messages(js) > held+20 })
		if s.arrivedAt(one) != arrived || s.positionAt(one) != position {
			t.Fatalf("the paused target went on %s: %d after %d, %s after %s", when, s.arrivedAt(one), arrived, s.positionAt(one), position)
		}
		status := start(t, "", "status", "crm", "-f", s.config)
		status.want(0)
		contains(t, status.out.String(), "paused")
	}
	stands("beside it")
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	e = s.run("")
	js = s.client()
	stands("after a restart")
	e.kill()
	e = s.run("")
	js = s.client()
	stands("after a kill")
	start(t, "", "resume", "crm/one", "-f", s.config).want(0)
	eventually(t, "the target goes on", func() bool { return e.ended() || s.arrivedAt(one) > arrived })
	s.arrives(e, stop, seen)
}

// TestPauseWithoutQueue: a paused pipeline leaves everything at the source.
func TestPauseWithoutQueue(t *testing.T) {
	t.Parallel()
	s := newScenario(t, fanned)
	e := s.run("")
	s.carries(e)
	start(t, "", "pause", "crm", "-f", s.config).want(0)
	stats := s.load(&judge.Workload{Sessions: 2, Actions: 30, Seed: 1})
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	paused := s.catchUp("")
	paused.want(1)
	contains(t, paused.out.String(), "paused")
	if v := s.judge(); v.Applied != 0 {
		t.Fatalf("a paused pipeline wrote: %s", v)
	}
	e = s.run("")
	eventually(t, "the engine says that it is paused", func() bool {
		status := start(t, "", "status", "-f", s.config)
		return status.end() == 0 && strings.Contains(status.out.String(), "paused")
	})
	start(t, "", "resume", "crm", "-f", s.config).want(0)
	eventually(t, "everything has arrived", func() bool { return e.ended() || s.judge().Lost == 0 })
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	s.clean(stats.Committed)
}

// positionAt is the position that a target keeps.
func (s *scenario) positionAt(t *target) (position string) {
	s.t.Helper()
	query := `select position from waybill.position where stream = 'crm/` + t.name + `'`
	if t.side.SQLite {
		query = strings.Replace(query, "waybill.position", "waybill_position", 1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := t.side.DB.QueryRowContext(ctx, query).Scan(&position); err != nil {
		s.t.Fatalf("read the position at target %s: %v", t.name, err)
	}
	return position
}

// arrives ends the load, waits until everything is at the targets, ends the engine, and judges.
func (s *scenario) arrives(e *engine, stop func() judge.Stats, seen func() judge.Sighting) {
	s.t.Helper()
	stats := stop()
	eventually(s.t, "everything has arrived", func() bool { return e.ended() || s.judge().Lost == 0 })
	e.signal(sigterm)
	e.want(128 + int(sigterm))
	s.catchUp("").want(0)
	s.clean(stats.Committed)
	s.unseen(seen())
}
