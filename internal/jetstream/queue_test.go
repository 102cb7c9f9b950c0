package jetstream

import (
	"context"
	"testing"

	"go.uber.org/goleak"
)

func TestQueueOpenClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx := context.Background()
	q := queueIn(t, t.TempDir(), QueueOptions{})
	var id string
	for range 3 {
		s, err := q.open(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		if id != "" && s.id != id {
			t.Fatalf("id %s, was %s", s.id, id)
		}
		id = s.id
		if err := q.register(s, "p/t", "p"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := s.js.Publish(ctx, "q.p", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.acked(ctx, s, "p/t", "p", 2); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}
