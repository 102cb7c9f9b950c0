package conformance

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func wholeRules() []writerRule {
	return []writerRule{
		{"no observer sees part of an action", observed},
		{"cancelled in the middle", cancelled},
	}
}

// observed: every action sets all customers to one score and has one more journal row; the
// observer's snapshots must never show two scores, or a score without its journal row.
func observed(t *testing.T, x *target) {
	const customers, rounds = 40, 40
	y := x.resume("me")
	var all []string
	for i := range customers {
		key := fmt.Sprintf(`{"id":%d}`, i)
		all = append(all, key)
		y.write(one(insert("customer", key, `{"score":0}`)))
	}
	done := make(chan struct{})
	var observer sync.WaitGroup
	seen := 0
	observer.Go(func() {
		for {
			have, err := queryText(x.DB, `select min(score), max(score), (select coalesce(max(n), 0) from journal), count(*) from customer`)
			if err != nil {
				t.Errorf("observe: %v", err)
				return
			}
			var low, high, last, count int
			if _, err := fmt.Sscanf(have[0], "%d|%d|%d|%d", &low, &high, &last, &count); err != nil {
				t.Errorf("observe: %q: %v", have[0], err)
				return
			}
			if low != high || high != last || count != customers {
				t.Errorf("observed part of an action: scores from %d to %d of %d customers, journal at %d", low, high, count, last)
				return
			}
			seen++
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for round := 1; round <= rounds; round++ {
		action := one()
		for _, key := range all {
			action = append(action, update("customer", key, fmt.Sprintf(`{"score":%d}`, round)))
		}
		y.write(append(action, journal(round)))
	}
	close(done)
	observer.Wait()
	if seen == 0 {
		t.Fatal("the observer saw nothing")
	}
}

// cancelled: a Write whose context ends anywhere has happened or has not.
func cancelled(t *testing.T, x *target) {
	y := x.resume("me")
	const rows = 400
	action := func(seq uint64) (a [][2]int) {
		for i := range rows {
			a = append(a, [2]int{int(seq), i})
		}
		return a
	}
	for delay := time.Duration(0); delay < 24*time.Millisecond; delay += time.Millisecond {
		changes := one()
		for _, n := range action(y.seq) {
			changes = append(changes, journal(n[0]*rows+n[1]))
		}
		b := batch(y.seq, changes)
		ctx, cancel := context.WithTimeout(context.Background(), delay)
		err := y.w.Write(ctx, b)
		cancel()
		at, resumeErr := y.resume(stream)
		if resumeErr != nil {
			t.Fatalf("Resume after a cancelled Write (%v): %v", err, resumeErr)
		}
		if at != b.After && at != b.Upto || err == nil && at != b.Upto {
			t.Fatalf("Write: %v; then at %q, it was from %q to %q", err, at, b.After, b.Upto)
		}
		y.at, y.seq = at, seqOf(at)
		x.want(`select count(*), coalesce(max(n), -1) from journal`, fmt.Sprintf("%d|%d", int(y.seq)*rows, int(y.seq)*rows-1))
	}
	y.write(one(insert("customer", `{"id":1}`, `{}`)))
}
