package conformance

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/waybill-data/waybill"
)

func positionRules() []writerRule {
	return []writerRule{
		{"resume from nothing", func(t *testing.T, x *target) {
			y := x.resume("me")
			if y.at != "" {
				t.Fatalf("Resume of an unknown stream: %q, want the zero position", y.at)
			}
			if at, err := y.resume(stream); err != nil || at != "" {
				t.Fatalf("Resume again: %q, %v", at, err)
			}
			y.write(one(journal(1)))
		}},
		{"resume where it was", func(t *testing.T, x *target) {
			y := x.resume("me")
			for i := range 4 {
				y.write(one(journal(2*i)), one(journal(2*i+1)))
				if at, err := y.resume(stream); err != nil || at != y.at {
					t.Fatalf("Resume: %q, %v; want %q", at, err, y.at)
				}
			}
			y.close()
			if z := x.resume("somebody else"); z.at != y.at {
				t.Fatalf("Resume by another writer: %q, want %q", z.at, y.at)
			}
		}},
		{"the accounts balance", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(journal(1)), one(journal(2)))
			y.write(one()) // a whole action that changes nothing
			want := fmt.Sprintf("%s|3|2|1|0|0", place(3))
			if have := x.position(stream); have != want {
				t.Fatalf("position, seq, applied, filtered, parked, discarded:\nhave %s\nwant %s", have, want)
			}
		}},
		{"batches without actions", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(journal(1)))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for _, p := range []waybill.Position{"1 idle", "1 idle", "1 still idle"} {
				if err := y.w.Write(ctx, waybill.Batch{After: y.at, Upto: p}); err != nil {
					t.Fatalf("Write of a batch without actions: %v", err)
				}
				y.at = p
			}
			if have, want := x.position(stream), "1 still idle|1|1|0|0|0"; have != want {
				t.Fatalf("have %s, want %s", have, want)
			}
			y.write(one(journal(2)))
		}},
		{"the first batch has no actions", func(t *testing.T, x *target) {
			y := x.resume("me")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := y.w.Write(ctx, waybill.Batch{Upto: "1 idle"}); err != nil {
				t.Fatal(err)
			}
			y.close()
			z := x.resume("me")
			if z.at != "1 idle" {
				t.Fatalf("Resume: %q, want %q", z.at, "1 idle")
			}
			z.write(one(journal(1)))
		}},
		{"a hole in the numbers", func(t *testing.T, x *target) {
			x.badBatch(t, func(b *waybill.Batch) { b.Actions[1].Seq++ })
			x.badBatch(t, func(b *waybill.Batch) { b.Actions = b.Actions[1:] })
		}},
		{"a repetition in the numbers", func(t *testing.T, x *target) {
			x.badBatch(t, func(b *waybill.Batch) { b.Actions[1].Seq-- })
			x.badBatch(t, func(b *waybill.Batch) { b.Actions[0].Seq-- })
		}},
		{"a batch from elsewhere", func(t *testing.T, x *target) {
			x.badBatch(t, func(b *waybill.Batch) { b.After = "1 elsewhere" })
			x.badBatch(t, func(b *waybill.Batch) { b.After = "" })
		}},
		{"position changed behind the back", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(journal(1)))
			x.exec(`update ` + x.Prefix + `position set position = '1 elsewhere'`)
			wantErr(t, "Write", y.try(one(journal(2))), waybill.ErrFenced)
			x.want(`select n from journal`, "1")
		}},
		{"streams do not touch each other", func(t *testing.T, x *target) {
			y, z := x.resumeStream("me", "a/target"), x.resumeStream("me", "b/target")
			for i := range 5 {
				y.write(one(journal(i)))
				z.write(one(journal(100+i)), one(journal(200+i)))
			}
			if have, want := x.position("a/target"), fmt.Sprintf("%s|5|5|0|0|0", place(5)); have != want {
				t.Fatalf("have %s, want %s", have, want)
			}
			if have, want := x.position("b/target"), fmt.Sprintf("%s|10|10|0|0|0", place(10)); have != want {
				t.Fatalf("have %s, want %s", have, want)
			}
		}},
		{"drop", drop},
		{"close twice, and without resume", func(t *testing.T, x *target) {
			w := x.New(t, "me")
			for range 2 {
				if err := w.Close(); err != nil {
					t.Fatalf("Close without Resume: %v", err)
				}
			}
			y := x.resume("me")
			y.write(one(journal(1)))
			y.close()
			y.close()
		}},
		{"write without resume", func(t *testing.T, x *target) {
			w := x.New(t, "me")
			t.Cleanup(func() { _ = w.Close() })
			if err := w.Write(context.Background(), batch(0, one(journal(1)))); err == nil {
				t.Fatal("Write without Resume succeeded")
			}
			x.want(`select n from journal`)
		}},
		{"check finds nothing wrong", func(t *testing.T, x *target) {
			w := x.New(t, "me")
			t.Cleanup(func() { _ = w.Close() })
			if c, ok := w.(waybill.Claimant); ok {
				checkClaims(t, c)
			}
			if c, ok := w.(waybill.Checker); ok {
				checkFindings(t, c)
			}
		}},
		{"no goroutine left", func(t *testing.T, x *target) {
			x.rows(`select 1`)
			before := goleak.IgnoreCurrent()
			w := x.New(t, "me")
			if err := goleak.Find(before); err != nil {
				t.Fatalf("New started something: %v", err)
			}
			_ = w.Close()
			y := x.resume("me")
			y.write(one(journal(1)))
			_ = y.try(one(journal(1)))
			y.close()
			if err := goleak.Find(before); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// badBatch writes two good actions, then a batch that was spoiled: it must be a gap and
// change nothing, and the good one must still be taken.
func (x *target) badBatch(t *testing.T, spoil func(b *waybill.Batch)) {
	t.Helper()
	x.exec(`delete from journal`)
	y := x.resume("me")
	defer y.close()
	next := int(y.seq)
	y.write(one(journal(next+1)), one(journal(next+2)))
	before := x.position(stream)
	b := batch(y.seq, one(journal(next+3)), one(journal(next+4)))
	spoil(&b)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wantErr(t, "Write of a spoiled batch", y.w.Write(ctx, b), waybill.ErrGap)
	x.want(`select count(*) from journal`, "2")
	if after := x.position(stream); after != before {
		t.Fatalf("position moved from %s to %s", before, after)
	}
	if at, err := y.resume(stream); err != nil || at != y.at {
		t.Fatalf("Resume: %q, %v; want %q", at, err, y.at)
	}
	y.write(one(journal(next + 3)))
}

func drop(t *testing.T, x *target) {
	y, other := x.resume("me"), x.resumeStream("me", "other/target")
	y.write(one(journal(1)))
	other.write(one(journal(2)))
	y.close()
	w := x.New(t, "me")
	t.Cleanup(func() { _ = w.Close() })
	d, ok := w.(waybill.Dropper)
	if !ok {
		t.Log("LEFT OUT: the writer cannot be dropped")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, name := range []string{stream, stream, "unknown/target"} {
		if err := d.Drop(ctx, name); err != nil {
			t.Fatalf("Drop of %s: %v", name, err)
		}
	}
	if z := x.resume("me"); z.at != "" {
		t.Fatalf("Resume after Drop: %q, want the zero position", z.at)
	}
	other.write(one(journal(3)))
	x.want(`select n from journal order by n`, "1", "2", "3")
}
