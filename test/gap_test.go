package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill/test/judge"
)

// tamper is what somebody does to a queue between two runs. queue is its directory, older a copy
// from the time when less had passed, other the directory of a pipeline of the same name
// elsewhere.
type tamper struct {
	name string
	do   func(t testing.TB, queue, older, other string)
}

var tampers = []tamper{
	{"emptied", func(t testing.TB, queue, _, _ string) {}},
	{"swapped", func(t testing.TB, queue, _, other string) { copyTree(t, other, queue) }},
	{"older", func(t testing.TB, queue, older, _ string) { copyTree(t, older, queue) }},
	{"store lost", func(t testing.TB, queue, _, _ string) {
		copyTree(t, queue+".away", queue)
		if err := os.RemoveAll(filepath.Join(queue, "jetstream")); err != nil {
			t.Fatal(err)
		}
	}},
}

// TestQueueTamperedWith: the queue's directory is not what it was when an engine starts again. It
// says so and stops; nothing is skipped, and once the directory is back it goes on.
func TestQueueTamperedWith(t *testing.T) {
	for i, tt := range tampers {
		c := queued[i%2]
		t.Run(tt.name+"/"+c.String(), func(t *testing.T) {
			t.Parallel()
			s, other := newScenario(t, c), newScenario(t, c)
			for _, each := range []*scenario{s, other} {
				each.load(&judge.Workload{Sessions: 1, Actions: 15, Seed: 1})
				each.catchUp("").want(0)
			}
			older, away := s.queue+".older", s.queue+".away"
			copyTree(t, s.queue, older)
			committed := s.judge().Actions + s.load(&judge.Workload{Sessions: 1, Actions: 15, Seed: 1 + 1}).Committed
			s.catchUp("").want(0)
			s.clean(committed)
			committed += s.load(&judge.Workload{Sessions: 1, Actions: 15, Seed: 3}).Committed
			relay := s.write("state", s.plan().relay())
			start(t, "kill:write.committed", "run", "-f", relay).want(killed) // so that the queue holds something

			rename(t, s.queue, away)
			tt.do(t, s.queue, older, other.queue)
			for _, config := range []string{s.config, s.config, s.write("state", s.plan().consume())} {
				e := start(t, "", "run", "-f", config, "--until-caught-up")
				e.want(1)
				contains(t, e.out.String(), "gap in stream")
				if v := s.judge(); v.Lost == 0 || !v.Prefix() {
					t.Fatalf("what was not relayed must be missing, and nothing else be wrong: %s", v)
				}
			}
			if err := os.RemoveAll(s.queue); err != nil {
				t.Fatal(err)
			}
			rename(t, away, s.queue)
			s.catchUp("").want(0)
			s.clean(committed)
		})
	}
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// meddling is what somebody with a NATS server of his own does to a queue between two runs.
type meddling struct {
	name string
	do   func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) error
	// foreign: not something that an engine lets its clients do.
	foreign bool
}

var meddlings = []meddling{
	{name: "message removed", do: func(ctx context.Context, _ jetstream.JetStream, stream jetstream.Stream) error {
		state := stream.CachedInfo().State
		return stream.DeleteMsg(ctx, state.FirstSeq+(state.LastSeq-state.FirstSeq)*3/4)
	}},
	{name: "last message removed", do: func(ctx context.Context, _ jetstream.JetStream, stream jetstream.Stream) error {
		return stream.DeleteMsg(ctx, stream.CachedInfo().State.LastSeq)
	}},
	{name: "first messages removed", do: func(ctx context.Context, _ jetstream.JetStream, stream jetstream.Stream) error {
		state := stream.CachedInfo().State
		return stream.Purge(ctx, jetstream.WithPurgeSequence(state.LastSeq-1))
	}},
	{name: "stream purged", do: func(ctx context.Context, _ jetstream.JetStream, stream jetstream.Stream) error {
		return stream.Purge(ctx)
	}},
	{name: "stream deleted", do: func(ctx context.Context, js jetstream.JetStream, _ jetstream.Stream) error {
		return js.DeleteStream(ctx, queueStream)
	}},
	{name: "stream replaced", do: func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) error {
		if err := js.DeleteStream(ctx, queueStream); err != nil {
			return err
		}
		_, err := js.CreateStream(ctx, stream.CachedInfo().Config)
		return err
	}, foreign: true},
}

// TestQueueMeddledWith: what the queue held for a target that is behind is damaged. The engine says
// that something is missing, writes nothing of what lies behind it, and says so again.
func TestQueueMeddledWith(t *testing.T) {
	for i, m := range meddlings {
		c := queued[i%2]
		t.Run(m.name+"/"+c.String(), func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, c)
			s.load(&judge.Workload{Sessions: 1, Actions: 20, Seed: 1})
			s.catchUp("").want(0)
			s.load(&judge.Workload{Sessions: 1, Actions: 40, Seed: 2})
			start(t, "", "run", "-f", s.write("state", s.plan().relay()), "--until-caught-up").want(0)
			s.meddle(m)
			s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 3})
			for range 2 {
				e := s.catchUp("")
				e.want(1)
				contains(t, e.out.String(), "gap in stream")
				if v := s.judge(); v.Lost == 0 || !v.Prefix() {
					t.Fatalf("what lay behind the damage must be missing, and nothing else be wrong: %s\n%s", v, e.tail())
				}
			}
		})
	}
}

// meddle opens the queue, which no engine has, with a NATS server in this process.
func (s *scenario) meddle(m meddling) {
	s.t.Helper()
	ns, err := server.NewServer(&server.Options{JetStream: true, StoreDir: s.queue, DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		s.t.Fatal(err)
	}
	ns.Start()
	defer func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	}()
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, queueStream)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := m.do(ctx, js, stream); err != nil {
		s.t.Fatal(err)
	}
}

// TestClientMeddles: an ordinary NATS client does the same to a queue that is in use, while a target
// lags. What it had not passed is a gap, said and stopped at, and said again by the next run.
func TestClientMeddles(t *testing.T) {
	for i, m := range meddlings {
		if m.foreign {
			continue
		}
		c := queued[i%2]
		t.Run(m.name+"/"+c.String(), func(t *testing.T) {
			t.Parallel()
			s := newListening(t, c)
			e := s.run("")
			s.carries(e)
			hop := "crm/" + string(c.target)
			start(t, "", "pause", hop, "-f", s.config).want(0)
			stats := s.load(&judge.Workload{Sessions: 1, Actions: 60, Seed: 2})
			js := s.client()
			eventually(t, "the queue fills", func() bool { return e.ended() || s.messages(js) >= stats.Committed })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			stream, err := js.Stream(ctx, queueStream)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.do(ctx, js, stream); err != nil {
				t.Fatal(err)
			}
			start(t, "", "resume", hop, "-f", s.config).want(0)
			eventually(t, "the gap is said", func() bool { return e.ended() || strings.Contains(e.tail(), "gap in stream") })
			if !e.ended() {
				e.signal(sigterm)
			}
			s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 3})
			e = s.catchUp("")
			e.want(1)
			contains(t, e.out.String(), "gap in stream")
			if v := s.judge(); v.Lost == 0 || !v.Prefix() {
				t.Fatalf("what lay behind the damage must be missing, and nothing else be wrong: %s\n%s", v, e.tail())
			}
		})
	}
}
