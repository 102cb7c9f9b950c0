package waybill_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/waybill-data/waybill"
)

// TestJoinAndCut: batches in a row, empty ones among them, make one that can be cut anywhere.
func TestJoinAndCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(n int) waybill.Position { return waybill.Position(fmt.Sprint(n)) }
		var list []waybill.Batch
		n := 0
		for _, size := range rapid.SliceOfN(rapid.IntRange(0, 4), 1, 8).Draw(t, "sizes") {
			first := n
			b := waybill.Batch{After: at(first), Upto: at(first + size), At: func(i int) waybill.Position { return at(first + i + 1) }}
			for range size {
				n++
				b.Actions = append(b.Actions, waybill.Action{Seq: uint64(n)})
			}
			if size == 0 && rapid.Bool().Draw(t, "no positions") {
				b.At = nil
			}
			list = append(list, b)
		}
		joined := list[0].Join(list[1:]...)
		if joined.After != at(0) || joined.Upto != at(n) || len(joined.Actions) != n || n > 0 && joined.At == nil {
			t.Fatalf("%d actions after %s up to %s", len(joined.Actions), joined.After, joined.Upto)
		}
		for i := range joined.Actions {
			if joined.Actions[i].Seq != uint64(i+1) || joined.At(i) != at(i+1) {
				t.Fatalf("action %d is number %d at %s", i, joined.Actions[i].Seq, joined.At(i))
			}
		}
		if n < 2 {
			return
		}
		cut := rapid.IntRange(1, n-1).Draw(t, "cut")
		head, tail, ok := joined.Cut(cut)
		if !ok || head.Upto != at(cut) || tail.After != at(cut) || tail.At(0) != at(cut+1) || tail.Actions[0].Seq != uint64(cut+1) {
			t.Fatalf("cut at %d: up to %s, after %s", cut, head.Upto, tail.After)
		}
	})
}
