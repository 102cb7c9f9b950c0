package jetstream

import (
	"strings"
	"testing"
)

func TestStats(t *testing.T) {
	q := newQueue(t, QueueOptions{MaxBytes: 1 << 20})
	if st, err := q.Stats(ctx(t)); err != nil || st.Messages != 0 || len(st.Consumers) != 0 {
		t.Fatalf("before anything: %+v, %v", st, err)
	}
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, name := range []string{"a/slow", "a/quick"} {
		if err := q.register(s, name, "a"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "q.a", "q.a", "q.a", "q.a")
	if err := q.acked(ctx(t), s, "a/slow", "a", 1); err != nil {
		t.Fatal(err)
	}
	if err := q.acked(ctx(t), s, "a/quick", "a", 4); err != nil {
		t.Fatal(err)
	}
	st, err := q.Stats(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if st.Messages != 4 || st.Bytes == 0 || st.MaxBytes != 1<<20 || st.Full || len(st.Subjects) != 1 || len(st.Consumers) != 2 {
		t.Fatalf("%+v", st)
	}
	quick, slow := st.Consumers[0], st.Consumers[1]
	if quick.Consumer != "a/quick" || quick.Depth != 0 || quick.OldestSeconds != 0 || quick.Rate <= 0 {
		t.Errorf("quick: %+v", quick)
	}
	if slow.Depth != 3 || slow.OldestSeconds <= 0 || slow.Bytes == 0 || slow.Bytes > st.Bytes || st.OldestSeconds != slow.OldestSeconds {
		t.Errorf("slow: %+v", slow)
	}
	s.heldBack()
	if st, err = q.Stats(ctx(t)); err != nil || !st.Full || !strings.Contains(st.FullReason, "a/slow") {
		t.Errorf("full: %+v, %v", st, err)
	}
}

func TestStatsOfInterleavedSubjects(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for range 50 {
		put(t, s, "q.a", "q.b")
	}
	for _, name := range []string{"a", "b", "none"} {
		if err := q.register(s, name+"/t", name); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.acked(ctx(t), s, "a/t", "a", 49); err != nil {
		t.Fatal(err)
	}
	st, err := q.Stats(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if a := st.Consumers[0].Depth; a < 20 || a > 30 {
		t.Errorf("a lacks %d messages, is 25", a)
	}
	if b := st.Consumers[1].Depth; b != 50 {
		t.Errorf("b lacks %d messages, is 50", b)
	}
	if n := st.Consumers[2].Depth; n != 0 {
		t.Errorf("nothing was sent, %d lacked", n)
	}
}
