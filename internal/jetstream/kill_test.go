package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

// generated are n changes that are made when they are asked for.
type generated struct {
	n     int
	width int // of a row, in bytes, about
}

func (g generated) Len() int { return g.n }

func (g generated) All() iter.Seq2[*waybill.Change, error] {
	return func(yield func(*waybill.Change, error) bool) {
		text := []byte(`"` + strings.Repeat("w", g.width) + `"`)
		for i := range g.n {
			c := waybill.Change{
				Entity: "customer", Op: waybill.Upsert,
				Key: waybill.Row{{Name: "id", Value: waybill.Value{Form: waybill.JSON, Raw: strconv.AppendInt(nil, int64(i), 10)}}},
				Row: waybill.Row{{Name: "note", Value: waybill.Value{Form: waybill.JSON, Raw: text}}},
			}
			if !yield(&c, nil) {
				return
			}
		}
	}
}

func (f *feed) large(n, width int) waybill.Batch {
	a := f.action(int(f.seq) + 1)
	a.Changes, a.Size = generated{n, width}, n*(width+200)
	return f.of(a)
}

// childWriteActions writes until it is killed, some actions large, and tells what it wrote.
func childWriteActions(t *testing.T) {
	q := queueIn(t, os.Getenv(childDir), QueueOptions{})
	f := newFeed(t, q, "orders")
	fmt.Println("open", f.seq)
	for i := f.seq; ; i++ {
		b := f.batch(int(1 + i%7*30))
		if i%3 == 0 {
			b = f.large(20_000, 1000)
		}
		f.write(b)
		fmt.Println("wrote", f.seq)
	}
}

// TestKilledWriter kills a process that writes, again and again on one queue. After each, the
// queue holds at least what was told to be written, every action once and whole, and the
// position behind the last one.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	told := uint64(0)
	for round := range 8 {
		cmd, out := child(t, "write-actions", dir)
		lines := 0
		for out.Scan() {
			what, n, _ := strings.Cut(out.Text(), " ")
			if what != "open" && what != "wrote" {
				continue
			}
			seq, err := strconv.ParseUint(n, 10, 64)
			if err != nil || seq < told {
				t.Fatalf("round %d: the writer is at %s after %d, %v", round, n, told, err)
			}
			told = seq
			if lines++; lines == 1+round%4 { // the rest of the time varies where the blow falls
				time.AfterFunc(time.Duration(round*9)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		told = checkKilled(t, dir, told)
	}
	if told < 10 {
		t.Errorf("only %d actions were written: this tested little", told)
	}
	t.Logf("%d actions", told)
}

// checkKilled reads everything and returns the number of the last action.
func checkKilled(t *testing.T, dir string, told uint64) uint64 {
	t.Helper()
	q := queueIn(t, dir, QueueOptions{})
	r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/check"})
	defer r.Close()
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatalf("Open after a kill: %v", err)
	}
	head, err := r.Head(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	at, last := waybill.Position(""), uint64(0)
	for !r.Reached(at, head) {
		b, err := r.Next(ctx(t))
		if err != nil {
			t.Fatalf("Next after a kill: %v", err)
		}
		if err := b.CheckDense("orders", last); err != nil {
			t.Fatal(err)
		}
		for i := range b.Actions {
			if n := b.Actions[i].Changes.Len(); n != 1 && n != 20_000 {
				t.Fatalf("action %d has %d changes", b.Actions[i].Seq, n)
			}
		}
		at, last = b.Upto, b.LastSeq(last)
	}
	if last < told {
		t.Fatalf("action %d was written, and the queue ends at %d", told, last)
	}
	f := newFeed(t, q, "orders")
	if f.seq != last || last > 0 && f.pos != waybill.Position(fmt.Sprintf("1:%d", last)) {
		t.Fatalf("the writer resumes at %q, number %d; the last action is %d", f.pos, f.seq, last)
	}
	if err := f.w.Close(); err != nil {
		t.Error(err)
	}
	return last
}

// childLarge writes one action of n changes while it is read, iterates it twice and tells the most memory that it
// ever took, in MiB.
func childLarge(t *testing.T, n int) {
	q := queueIn(t, os.Getenv(childDir), QueueOptions{MaxBytes: 8 << 30})
	f := newFeed(t, q, "orders")
	r := NewReader(q, ReaderOptions{Subject: "orders", Stream: "orders/t"})
	defer r.Close()
	ctx := context.Background()
	if err := r.Open(ctx, ""); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- f.w.Write(ctx, f.large(n, 300)) }()
	b, err := r.Next(ctx) // beside the writing, as in an engine
	if err := errors.Join(err, <-written); err != nil || len(b.Actions) != 1 {
		t.Fatalf("Next: %d actions, %v", len(b.Actions), err)
	}
	for range 2 {
		seen := 0
		for c, err := range b.Actions[0].Changes.All() {
			if err != nil {
				t.Fatal(err)
			}
			if id, _ := c.Key.Get("id"); string(id.Raw) != strconv.Itoa(seen) {
				t.Fatalf("change %d has the key %s", seen, c.Key)
			}
			seen++
		}
		if seen != n {
			t.Fatalf("%d of %d changes", seen, n)
		}
	}
	fmt.Println("peak", peakMiB(t))
}

// peakMiB is the most resident memory that this process ever took.
func peakMiB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var kib int
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kib >> 10
}

// TestLargeActionMemory: an action passes in memory that does not grow with it.
func TestLargeActionMemory(t *testing.T) {
	cmd, out := child(t, fmt.Sprintf("large:%d", largeChanges), t.TempDir())
	peak := 0
	for out.Scan() {
		_, _ = fmt.Sscanf(out.Text(), "peak %d", &peak)
	}
	if err := cmd.Wait(); err != nil || peak == 0 {
		t.Fatalf("the process ended with %v", err)
	}
	t.Logf("%d changes took %d MiB at most", largeChanges, peak)
	if peak > largeMiB {
		t.Errorf("%d changes took %d MiB, want at most %d", largeChanges, peak, largeMiB)
	}
}
