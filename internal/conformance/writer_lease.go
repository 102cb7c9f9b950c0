package conformance

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill-data/waybill"
)

func leaseRules() []writerRule {
	return []writerRule{
		{"every resume raises the epoch", func(t *testing.T, x *target) {
			y := x.resume("me")
			last := number(t, x.epoch())
			for range 3 {
				if _, err := y.resume(stream); err != nil {
					t.Fatal(err)
				}
				y.write(one(journal(int(y.seq))))
				now := number(t, x.epoch())
				if now <= last {
					t.Fatalf("epoch %d after a Resume at epoch %d", now, last)
				}
				last = now
			}
		}},
		{"held", held},
		{"closing gives the lease back", func(t *testing.T, x *target) {
			for i, owner := range []string{"one", "two", "", "", "one"} {
				began := time.Now()
				y := x.resume(owner)
				y.write(one(journal(i)))
				y.close()
				if took := time.Since(began); took > 5*time.Second {
					t.Fatalf("taking over from a closed writer took %v", took)
				}
			}
		}},
		{"the same owner takes over at once", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(journal(1)))
			began := time.Now()
			z := x.resume("me")
			if took := time.Since(began); took > 2*time.Second {
				t.Fatalf("taking over took %v", took)
			}
			x.fenced(t, y, z)
		}},
		{"a lease that ran out", func(t *testing.T, x *target) {
			if x.Expire == nil {
				t.Log("LEFT OUT: the target cannot make a lease run out")
				return
			}
			y := x.resume("one")
			y.write(one(journal(1)))
			z := x.takeOver(t, "two")
			x.fenced(t, y, z)
		}},
		{"the fenced one may come back", func(t *testing.T, x *target) {
			y := x.resume("me")
			z := x.resume("me")
			z.write(one(journal(1)))
			wantErr(t, "Write of the fenced", y.try(one(journal(2))), waybill.ErrFenced)
			at, err := y.resume(stream)
			if err != nil || at != z.at {
				t.Fatalf("Resume: %q, %v; want %q", at, err, z.at)
			}
			y.at, y.seq = at, seqOf(at)
			y.write(one(journal(2)))
			wantErr(t, "Write of the other", z.try(one(journal(3))), waybill.ErrFenced)
			x.want(`select n from journal order by n`, "1", "2")
		}},
		{"two that fight", fight},
	}
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func held(t *testing.T, x *target) {
	y := x.resume("holder-of-it")
	y.write(one(journal(1)))
	epoch := x.epoch()
	for _, owner := range []string{"another", ""} {
		z := &writing{t: t, w: x.New(t, owner)}
		t.Cleanup(func() { _ = z.w.Close() })
		_, err := z.resume(stream)
		wantErr(t, "Resume while another holds", err, waybill.ErrHeld)
		if !strings.Contains(err.Error(), "holder-of-it") {
			t.Errorf("the error does not name the holder: %v", err)
		}
		if err := z.try(one(journal(9))); err == nil {
			t.Fatal("Write after a Resume that failed")
		}
		z.close() // must not free what it does not hold
	}
	if now := x.epoch(); now != epoch {
		t.Fatalf("a Resume that failed moved the epoch from %s to %s", epoch, now)
	}
	_, err := (&writing{t: t, w: x.New(t, "third")}).resume(stream)
	wantErr(t, "Resume after a refused one was closed", err, waybill.ErrHeld)
	y.write(one(journal(2)))

	nobody := x.resumeStream("", "other/target")
	_, err = (&writing{t: t, w: x.New(t, "")}).resume("other/target")
	wantErr(t, "Resume of nobody while nobody holds", err, waybill.ErrHeld)
	nobody.write(one(journal(3)))
}

// takeOver expires the lease until another owner has it: the holder may renew in between.
func (x *target) takeOver(t testing.TB, owner string) *writing {
	t.Helper()
	z := &writing{t: t, w: x.New(t, owner)}
	t.Cleanup(func() { _ = z.w.Close() })
	for deadline := time.Now().Add(patience); ; {
		x.Expire(t)
		at, err := z.resume(stream)
		if err == nil {
			z.at, z.seq = at, seqOf(at)
			return z
		}
		if !errors.Is(err, waybill.ErrHeld) || time.Now().After(deadline) {
			t.Fatalf("Resume after the lease ran out: %v", err)
		}
	}
}

// fenced: y lost the stream to z. Nothing that y does has an effect.
func (x *target) fenced(t testing.TB, y, z *writing) {
	t.Helper()
	if z.at != y.at {
		t.Fatalf("taken over at %q, the stream is at %q", z.at, y.at)
	}
	wantErr(t, "Write of the fenced", y.try(one(journal(100))), waybill.ErrFenced)
	z.write(one(journal(2)))
	// What the other one wrote is in its way; that is no refusal.
	wantErr(t, "Write of the fenced", y.try(one(journal(2))), waybill.ErrFenced)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	wantErr(t, "empty Write of the fenced", y.w.Write(ctx, waybill.Batch{After: y.at, Upto: "1 idle"}), waybill.ErrFenced)
	_ = y.w.Close() // must not give away the other's lease
	_, err := (&writing{t: t, w: x.New(t, "third")}).resume(stream)
	wantErr(t, "Resume after the fenced one closed", err, waybill.ErrHeld)
	z.write(one(journal(3)))
	x.want(`select n from journal order by n`, "1", "2", "3")
}

// fight: two workers of one owner take the stream from each other and write the same
// actions. Each action must take effect once.
func fight(t *testing.T, x *target) {
	const rounds = 25
	var both sync.WaitGroup
	for _, worker := range []string{"one", "two"} {
		w := x.New(t, "me")
		t.Cleanup(func() { _ = w.Close() })
		both.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			for range rounds {
				at, err := w.Resume(ctx, stream)
				if err != nil {
					if !waybill.Transient(err) && !errors.Is(err, waybill.ErrFenced) {
						t.Errorf("Resume of %s: %v", worker, err)
						return
					}
					continue
				}
				for range 3 {
					seq := seqOf(at)
					c := insert("journal", `{"n":`+strconv.FormatUint(seq+1, 10)+`}`, `{"worker":"`+worker+`"}`)
					b := batch(seq, one(c))
					err = w.Write(ctx, b)
					if err != nil {
						break
					}
					at = b.Upto
				}
				if err != nil && !errors.Is(err, waybill.ErrFenced) && !waybill.Transient(err) {
					t.Errorf("Write of %s: %v", worker, err)
					return
				}
			}
		})
	}
	both.Wait()
	z := x.resume("me")
	x.want(`select count(*), coalesce(max(n), 0) from journal`, strconv.FormatUint(z.seq, 10)+"|"+strconv.FormatUint(z.seq, 10))
	if z.seq == 0 {
		t.Fatal("neither of the two wrote anything")
	}
}
