package jetstream

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// held returns the sequences that a stream still holds, per subject.
func held(t *testing.T, s *session) map[string][]uint64 {
	t.Helper()
	out := map[string][]uint64{}
	for seq := uint64(1); ; {
		at, err := get(ctx(t), s.nc, s.queue.Stream, getRequest{Seq: seq, Next: s.queue.Stream + ".>"})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		subject := at.hdr.Get(hdrSubject)
		out[subject] = append(out[subject], at.n)
		seq = at.n + 1
	}
}

// put publishes to the subjects in turn.
func put(t *testing.T, s *session, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		if _, err := s.js.Publish(ctx(t), subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRetention(t *testing.T) {
	type step struct {
		register, acked, drop map[string]uint64 // consumer by name: "a1" is of subject a
	}
	for name, c := range map[string]struct {
		put   []string
		steps []step
		want  string
	}{
		"nothing for nobody is removed": {
			[]string{"q.a", "q.a"}, nil, "map[q.a:[1 2]]",
		},
		"what the only consumer has, but the last": {
			[]string{"q.a", "q.a", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0}, acked: map[string]uint64{"a1": 3}}},
			"map[q.a:[3 4]]",
		},
		"never the last message": {
			[]string{"q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0}, acked: map[string]uint64{"a1": 2}}},
			"map[q.a:[2]]",
		},
		"the slowest decides": {
			[]string{"q.a", "q.a", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0, "a2": 0}, acked: map[string]uint64{"a1": 4, "a2": 2}}},
			"map[q.a:[2 3 4]]",
		},
		"a newcomer that has nothing": {
			[]string{"q.a", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0, "a2": 0}, acked: map[string]uint64{"a1": 3}}},
			"map[q.a:[1 2 3]]",
		},
		"a dropped one is not waited for": {
			[]string{"q.a", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0, "a2": 0}, acked: map[string]uint64{"a1": 3}, drop: map[string]uint64{"a2": 0}}},
			"map[q.a:[3]]",
		},
		"subjects apart": {
			[]string{"q.a", "q.b", "q.a", "q.b", "q.a", "q.b"},
			[]step{{register: map[string]uint64{"a1": 0, "b1": 0}, acked: map[string]uint64{"a1": 5, "b1": 2}}},
			"map[q.a:[5] q.b:[2 4 6]]",
		},
		"a subject without consumers": {
			[]string{"q.b", "q.a", "q.b", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0}, acked: map[string]uint64{"a1": 5}}},
			"map[q.a:[5] q.b:[1 3]]",
		},
		"never a schema": {
			[]string{"q.a.schema.1", "q.a", "q.a.schema.2", "q.a", "q.a"},
			[]step{{register: map[string]uint64{"a1": 0}, acked: map[string]uint64{"a1": 5}}},
			"map[q.a:[5] q.a.schema.1:[1] q.a.schema.2:[3]]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := queueIn(t, t.TempDir(), QueueOptions{})
			hold(t, q)
			s, err := q.open(ctx(t), "test")
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, c.put...)
			for _, step := range c.steps {
				for name := range step.register {
					if err := q.register(s, name, name[:1]); err != nil {
						t.Fatal(err)
					}
				}
				for name, seq := range step.acked {
					if err := q.acked(ctx(t), s, name, name[:1], seq); err != nil {
						t.Fatal(err)
					}
				}
				for name := range step.drop {
					if err := q.drop(ctx(t), name); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.close(); err != nil { // waits for the retention
				t.Fatal(err)
			}
			if s, err = q.open(ctx(t), "test"); err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if got := fmt.Sprint(held(t, s)); got != c.want {
				t.Errorf("held %s, want %s", got, c.want)
			}
		})
	}
}

func TestRetentionKeepsForATime(t *testing.T) {
	q := queueIn(t, t.TempDir(), QueueOptions{Keep: time.Hour})
	hold(t, q)
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "q.a", "q.a", "q.a")
	if err := q.register(s, "a1", "a"); err != nil {
		t.Fatal(err)
	}
	if err := q.acked(ctx(t), s, "a1", "a", 3); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	q.Keep = 300 * time.Millisecond
	if s, err = q.open(ctx(t), "test"); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got := fmt.Sprint(held(t, s)); got != "map[q.a:[1 2 3]]" {
		t.Fatalf("kept for an hour: %s", got)
	}
	var got string
	eventually(t, func() bool { // without anybody doing anything
		got = fmt.Sprint(held(t, s))
		return got == "map[q.a:[3]]"
	}, func() any { return got })
}

func TestRetentionRunsBesideTheStream(t *testing.T) {
	q := newQueue(t, QueueOptions{MaxBytes: 1 << 20})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := q.register(s, "a1", "a"); err != nil {
		t.Fatal(err)
	}
	for i := range 8 { // twice max_bytes
		if err := publishBatch(s, "q.a", fmt.Sprint("b", i), 250, 1000); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		seq := uint64(i+1) * 250
		if err := q.acked(ctx(t), s, "a1", "a", seq); err != nil {
			t.Fatal(err)
		}
		var first uint64
		eventually(t, func() bool {
			first, err = firstOf(ctx(t), s.nc, "q", "q.a", 1)
			return first == seq
		}, func() any { return fmt.Sprint(first, err) })
	}
}

// TestRetentionSparesSchemasBesideWriters purges all the time while two subjects are written.
func TestRetentionSparesSchemasBesideWriters(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	put(t, s, "q.a.schema.1")
	for _, name := range []string{"a", "b"} {
		if err := q.register(s, name, name); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := s.js.Stream(ctx(t), "q")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		for j, name := range []string{"a", "b"} {
			if err := publishBatch(s, "q."+name, fmt.Sprint(name, i), 10, 500); err != nil {
				t.Fatal(err)
			}
			if err := q.acked(ctx(t), s, name, name, uint64(1+20*i+10*(j+1))); err != nil {
				t.Fatal(err)
			}
			s.heldBack() // have it purge at every turn
		}
	}
	eventually(t, func() bool {
		info, err := stream.Info(ctx(t))
		return err == nil && info.State.Msgs < 20
	}, func() any { return "not purged" })
	if _, err := firstOf(ctx(t), s.nc, "q", "q.*.>", 1); err != nil {
		t.Fatalf("the schema: %v", err)
	}
}

func TestConsumersAreRemembered(t *testing.T) {
	dir := t.TempDir()
	q := queueIn(t, dir, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "q.orders", "q.orders")
	name := "orders/a target.with*odd>signs"
	if err := q.register(s, name, "orders"); err != nil {
		t.Fatal(err)
	}
	if err := q.acked(ctx(t), s, name, "orders", 1); err != nil {
		t.Fatal(err)
	}
	if err := q.acked(ctx(t), s, "nobody", "orders", 1); err == nil {
		t.Error("an unknown consumer may acknowledge")
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	q = queueIn(t, dir, QueueOptions{})
	if s, err = q.open(ctx(t), "test"); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if c := s.stream.consumers[name]; c == nil || c.Acked != 1 || c.Subject != "orders" {
		t.Fatalf("remembered: %+v", c)
	}
	if err := q.register(s, name, "orders"); err != nil {
		t.Fatal(err)
	}
	if c := s.stream.consumers[name]; c.Acked != 1 {
		t.Fatalf("registered again, it lost its place: %+v", c)
	}
}
