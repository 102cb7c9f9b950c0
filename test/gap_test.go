package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// meddling is what a NATS client with too many rights does to a queue that is in use. After
// removed messages the way to the queue may go on; after the others it cannot.
type meddling struct {
	name string
	do   func(ctx context.Context, js jetstream.JetStream) error
	ends bool // no hop can go on
}

var meddlings = []meddling{
	{name: "message removed", do: func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, queueStream)
		if err != nil {
			return err
		}
		state := stream.CachedInfo().State
		return stream.DeleteMsg(ctx, state.FirstSeq+(state.LastSeq-state.FirstSeq)*3/4)
	}},
	{name: "stream deleted", ends: true, do: func(ctx context.Context, js jetstream.JetStream) error {
		return js.DeleteStream(ctx, queueStream)
	}},
	{name: "stream purged", ends: true, do: func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, queueStream)
		if err != nil {
			return err
		}
		return stream.Purge(ctx)
	}},
	{name: "stream replaced", ends: true, do: func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, queueStream)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		if err := js.DeleteStream(ctx, queueStream); err != nil {
			return err
		}
		_, err = js.CreateStream(ctx, config)
		return err
	}},
}

// TestQueueMeddledWith: an ordinary NATS client damages the queue in mid-run, while the target is
// behind. The engine says that something is missing and writes nothing of what lies behind it,
// now or after a restart.
func TestQueueMeddledWith(t *testing.T) {
	for i, m := range meddlings {
		c := queued[i%2]
		t.Run(m.name+"/"+c.String(), func(t *testing.T) {
			t.Parallel()
			s := newListening(t, c)
			stop := s.background()
			e := s.run("")
			s.grows("the engine works", e)
			js := s.client()
			release := s.block()
			fill := s.messages(js)
			eventually(t, "the queue fills", func() bool { return e.ended() || s.messages(js) > fill+150 })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := m.do(ctx, js); err != nil {
				t.Fatal(err)
			}
			release()
			eventually(t, "the engine says what is missing", func() bool {
				return strings.Contains(e.out.String(), "gap in stream")
			})
			if m.ends {
				e.want(1)
			}
			stop()
			if !m.ends {
				e.signal(sigterm)
				e.want(128 + int(sigterm))
			}
			for range 2 {
				if v := s.judge(); v.Lost == 0 || !v.Prefix() {
					t.Fatalf("what lay behind the damage must be missing, and nothing else be wrong: %s\n%s", v, e.tail())
				}
				again := s.catchUp("")
				again.want(1)
				contains(t, again.out.String(), "gap in stream")
			}
		})
	}
}

// block keeps the first target from being written until the test calls release.
func (s *scenario) block() (release func()) {
	s.t.Helper()
	tx, err := s.target.DB.BeginTx(context.Background(), nil) // SQLite: immediate, which locks the file
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = tx.Rollback() })
	if !s.target.SQLite {
		if _, err := tx.Exec(`lock table journal in exclusive mode`); err != nil {
			s.t.Fatal(err)
		}
	}
	return func() { _ = tx.Rollback() }
}
