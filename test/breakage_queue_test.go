package test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-data/waybill/internal/fault"
	"github.com/waybill-data/waybill/test/judge"
)

var (
	queuedPure = queued[:2]
	queuedTwo  = queued[3:]
)

// queueBreakages are about the hop into the queue, where an engine that only relays is broken, and the
// hop out of it, where one is that only consumes. What the connectors of the source and the
// targets can break is shown without a queue.
var queueBreakages = []breakage{
	// Into the queue: it takes nothing more, and the source forgets.
	{fault.AckEarly, queuedPure, func(s *scenario, broken string) string {
		s.load(&judge.Workload{Sessions: 1, Actions: 90, Seed: 1, NoteBytes: 30_000})
		narrow := s.plan().relay()
		narrow.queue += ", max_bytes: 1MiB"
		e := start(s.t, broken, "run", "-f", s.write("state", narrow))
		eventually(s.t, "the queue is full", func() bool { return e.ended() || strings.Contains(e.out.String(), "is full") })
		_ = e.cmd.Process.Signal(sigterm) // a broken one may be gone
		if complaint := e.unless(128 + int(sigterm)); complaint != "" {
			return complaint
		}
		return s.finish("")
	}},
	// Out of the queue: the target takes nothing more, and the queue forgets.
	{fault.AckEarly, queuedTwo, func(s *scenario, broken string) string {
		mend := s.refuseCity()
		s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
		s.relayAll()
		if complaint := start(s.t, broken, "run", "-f", s.write("state", s.plan().consume()), "--until-caught-up").unless(1); complaint != "" {
			return complaint
		}
		mend()
		return s.finish("")
	}},
	{fault.PositionApart, queuedPure, func(s *scenario, broken string) string {
		return s.killRelay(faults(broken, "kill:write.position:2"))
	}},
	{fault.PositionFirst, queuedPure, func(s *scenario, broken string) string {
		return s.killRelay(faults(broken, "kill:write.position:2"))
	}},
	{fault.NoFence, queued[1:2], strangerWrites},
	{fault.PurgeUnacked, queuedTwo, func(s *scenario, broken string) string {
		mend := s.refuseCity()
		s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 1})
		if complaint := s.catchUp(broken).unless(1); complaint != "" {
			return complaint
		}
		mend()
		return s.finish("")
	}},
	{fault.IgnoreIdentity, queuedPure, func(s *scenario, broken string) string {
		other := newScenario(s.t, s.combo)
		s.ledger(1, 10)
		other.ledger(101, 20)
		s.catchUp("").want(0)
		other.relayAll()
		swapped := other.plan().consume()
		swapped.target = s.plan().target
		e := start(s.t, broken, "run", "-f", s.write("state", swapped), "--until-caught-up")
		code := e.end()
		if complaint := s.finish(""); complaint != "" {
			return complaint
		}
		// An acknowledgement notices it too. It must not get that far.
		if code != 1 || !strings.Contains(e.out.String(), "gap in stream") || strings.Contains(e.out.String(), "msg=carrying") {
			return fmt.Sprintf("opened another queue and ended with %d: %s", code, e.tail())
		}
		return ""
	}},
}

// relayAll brings what is at the source into the queue, and no further.
func (s *scenario) relayAll() {
	s.t.Helper()
	start(s.t, "", "run", "-f", s.write("state", s.plan().relay()), "--until-caught-up").want(0)
}

// killRelay lets an engine that only relays die, and a whole one do the rest.
func (s *scenario) killRelay(faults string) string {
	s.t.Helper()
	s.load(&judge.Workload{Sessions: 2, Actions: 20, Seed: 1, Upserts: true})
	if complaint := start(s.t, faults, "run", "-f", s.write("state", s.plan().relay())).unless(killed); complaint != "" {
		return complaint
	}
	return s.finish("")
}

// strangerWrites has a NATS client bring a message into the pipeline's own subject while an engine
// relays: what the engine writes next would follow what it does not know. The client may not
// publish there; it has the server answer there.
func strangerWrites(s *scenario, broken string) string {
	s.t.Helper()
	s.listens()
	e := start(s.t, broken, "run", "-f", s.write("state", s.plan().relay()))
	js := s.client()
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 1})
	committed := s.judge().Actions
	eventually(s.t, "the queue has what was committed", func() bool { return e.ended() || len(s.held(js)) == committed })
	open := queueStream + ".open"
	if _, err := js.Publish(context.Background(), open, []byte(`{"specversion": "1.0", "id": "1", "source": "/stranger", "type": "x", "data": []}`)); err != nil {
		s.t.Fatal(err)
	}
	if err := js.Conn().PublishRequest("$JS.API.DIRECT.GET."+queueStream, queueSubject, []byte(`{"last_by_subj": "`+open+`"}`)); err != nil {
		s.t.Fatal(err)
	}
	s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 2})
	complaint := ""
	eventually(s.t, "the engine notices, or does not", func() bool {
		// Where it notices it may end while this looks.
		if events, err := heldWithin(js, time.Second); err == nil && len(events) > committed+1 {
			complaint = "wrote behind a message that is not its own"
		}
		return e.ended() || complaint != "" || strings.Contains(e.out.String(), "another engine took the stream")
	})
	return complaint
}
