package conformance

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"testing"

	"github.com/waybill-data/waybill"
)

func ackRules() []readerRule {
	return []readerRule{
		{name: "acknowledged in the middle", test: func(t *testing.T, s *Source) {
			ids, at := s.positions(t, 5)
			x := s.open(t, "", 0)
			x.drain()
			x.ack(at[1])
			s.purge(t)
			x.close()
			for i := 1; i < len(at); i++ {
				y := s.open(t, at[i], uint64(i+1))
				wantIDs(t, y.drain(), uint64(i+1), ids[i+1:]...)
				y.close()
			}
		}},
		{name: "acknowledged again, late and out of order", test: func(t *testing.T, s *Source) {
			ids, at := s.positions(t, 5)
			x := s.open(t, "", 0)
			x.drain()
			for _, i := range []int{0, 0, 2, 1, 2, 0} {
				x.ack(at[i])
				s.purge(t)
			}
			x.close()
			wantIDs(t, s.open(t, at[2], 3).drain(), 3, ids[3:]...)
		}},
		{name: "acknowledged by the reader that resumes", test: func(t *testing.T, s *Source) {
			// What was applied but not acknowledged before a crash is acknowledged after it.
			ids, at := s.positions(t, 4)
			x := s.open(t, at[2], 3)
			x.ack(at[2])
			s.purge(t)
			wantIDs(t, x.drain(), 3, ids[3])
		}},
		{name: "zero position acknowledged", test: func(t *testing.T, s *Source) {
			ids := s.emitN(t, 2)
			x := s.open(t, "", 0)
			x.ack("")
			s.purge(t)
			wantIDs(t, x.drain(), 0, ids...)
		}},
		{name: "nothing unacknowledged goes", test: func(t *testing.T, s *Source) {
			ids := s.emitN(t, 3)
			for range 2 {
				x := s.open(t, "", 0)
				wantIDs(t, x.drain(), 0, ids...)
				s.purge(t)
				x.close()
			}
		}},
		{name: "every consumer holds back the purge", needs: func(s *Source) bool { return s.Consumer != nil }, test: severalConsumers},
		{name: "a newcomer begins at the oldest retained", needs: func(s *Source) bool { return s.Consumer != nil }, test: newcomer},
		{name: "what everybody has goes", needs: func(s *Source) bool { return s.Retained != nil && s.Purge != nil }, test: func(t *testing.T, s *Source) {
			x := s.open(t, "", 0)
			const n = 60
			for range n {
				s.Emit(t, customer(1))
				x.take(1)
				x.ack(x.at)
				s.purge(t)
			}
			if kept := s.Retained(t); kept >= n {
				t.Fatalf("%d of %d acknowledged actions are still at the source", kept, n)
			}
		}},
		{name: "a dropped consumer holds nothing back", needs: func(s *Source) bool { return s.Consumer != nil }, test: dropped},
	}
}

func (s *Source) purge(t testing.TB) {
	if s.Purge != nil {
		s.Purge(t)
	}
}

func severalConsumers(t *testing.T, s *Source) {
	slow := s.Consumer(t, "conformance/slow")
	ids := s.emitN(t, 4)
	x := s.open(t, "", 0)
	x.drain()
	x.ack(x.at)
	s.purge(t)
	ids = append(ids, s.Emit(t, customer(9)))
	y := s.openReader(t, slow, "", 0)
	wantIDs(t, y.drain(), 0, ids...)
	y.ack(y.at)
	s.purge(t)
	wantIDs(t, x.drain(), 4, ids[4])
}

func newcomer(t *testing.T, s *Source) {
	x := s.open(t, "", 0)
	for range 10 {
		s.emitN(t, 3)
		x.drain()
		x.ack(x.at)
		s.purge(t)
	}
	last := s.Emit(t, customer(9))
	y := s.openReader(t, s.Consumer(t, "conformance/newcomer"), "", 0)
	have := y.drain()
	if len(have) == 0 || have[len(have)-1].id != last {
		t.Fatalf("newcomer was handed %v, which does not end with %s", idsOf(have), last)
	}
	wantIDs(t, x.drain(), 30, last)
}

func dropped(t *testing.T, s *Source) {
	slow := s.Consumer(t, "conformance/slow")
	t.Cleanup(func() { _ = slow.Close() })
	d, ok := slow.(waybill.Dropper)
	if !ok {
		t.Log("LEFT OUT: the reader cannot be dropped")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 2 { // the second time it is unknown
		if err := d.Drop(ctx, "conformance/slow"); err != nil {
			t.Fatalf("Drop: %v", err)
		}
	}
	ids := s.emitN(t, 2)
	x := s.open(t, "", 0)
	wantIDs(t, x.drain(), 0, ids...)
	x.ack(x.at)
	if s.Retained == nil || s.Purge == nil {
		return
	}
	for range 60 {
		s.Emit(t, customer(1))
		x.take(1)
		x.ack(x.at)
		s.purge(t)
	}
	if kept := s.Retained(t); kept >= 60 {
		t.Fatalf("%d acknowledged actions are still at the source: the dropped consumer holds them back", kept)
	}
}

// gapRule takes a second source to be a stranger at.
type gapRule struct {
	name  string
	needs func(s *Source) bool
	test  func(t *testing.T, s, other *Source)
}

func gapRules() []gapRule {
	return []gapRule{
		{name: "gap: position of another source", test: func(t *testing.T, s, other *Source) {
			s.positions(t, 3)
			_, foreign := other.positions(t, 3)
			for _, p := range foreign {
				wantGap(t, s, p)
			}
		}},
		{name: "gap: position of another version", test: func(t *testing.T, s, _ *Source) {
			_, at := s.positions(t, 1)
			digits := regexp.MustCompile(`[0-9]+`).FindStringIndex(string(at[0]))
			if digits == nil {
				t.Fatalf("position %q begins with no version", at[0])
			}
			v, _ := strconv.Atoi(string(at[0])[digits[0]:digits[1]])
			wantGap(t, s, at[0][:digits[0]]+waybill.Position(strconv.Itoa(v+98))+at[0][digits[1]:])
		}},
		{name: "gap: position that is none", test: func(t *testing.T, s, _ *Source) {
			_, at := s.positions(t, 1)
			for _, p := range []waybill.Position{"x", "{}", "0", `{"v":1}`, at[0][:len(at[0])/2], at[0] + at[0], "\x00"} {
				wantGap(t, s, p)
			}
		}},
		{name: "gap: target behind the acknowledgement", test: targetBehind},
		{name: "gap: new source at the same address", needs: func(s *Source) bool { return s.Swap != nil }, test: func(t *testing.T, s, _ *Source) {
			_, at := s.positions(t, 3)
			s.Swap(t)
			wantGap(t, s, at[2])
			s.emitN(t, 5)
			wantGap(t, s, at[2])
		}},
		{name: "gap: source restored from a backup", needs: func(s *Source) bool { return s.Backup != nil }, test: func(t *testing.T, s, _ *Source) {
			s.positions(t, 2)
			restore := s.Backup(t)
			x := s.open(t, "", 0)
			s.emitN(t, 2)
			x.drain()
			at := x.at
			x.ack(at)
			x.close()
			restore(t)
			wantGap(t, s, at)
			s.emitN(t, 2) // the same numbers again, other actions
			wantGap(t, s, at)
		}},
	}
}

func wantGap(t testing.TB, s *Source, at waybill.Position) {
	t.Helper()
	r := s.New(t)
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := r.Open(ctx, at)
	if !errors.Is(err, waybill.ErrGap) {
		t.Fatalf("Open(%q): %v, want ErrGap", at, err)
	}
	if waybill.Transient(err) {
		t.Fatalf("Open(%q): a gap is not transient: %v", at, err)
	}
}

// targetBehind: the target was put back to an older position than it had acknowledged. What
// is between may still be there; it must be handed on whole or be a gap.
func targetBehind(t *testing.T, s, _ *Source) {
	ids, at := s.positions(t, 6)
	x := s.open(t, "", 0)
	x.drain()
	x.ack(at[4])
	x.ack(x.at)
	s.purge(t)
	x.close()
	for i, p := range append([]waybill.Position{""}, at[:4]...) {
		r := s.New(t)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := r.Open(ctx, p)
		cancel()
		switch {
		case errors.Is(err, waybill.ErrGap):
		case err != nil:
			t.Errorf("Open(%q): %v, want success or ErrGap", p, err)
		default:
			y := &reading{t: t, s: s, r: r, at: p, seq: uint64(i)}
			wantIDs(t, y.drain(), uint64(i), ids[i:]...)
		}
		_ = r.Close()
	}
}
