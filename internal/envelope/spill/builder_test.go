package spill

import (
	"bytes"
	"fmt"
	"testing"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// TestBuilder: whatever the number and size of messages, their changes come back in order.
func TestBuilder(t *testing.T) {
	const bound = 64 << 10
	for _, c := range []struct {
		messages, size int
		memory         bool
	}{
		{0, 0, true},
		{1, 10, true},
		{3, 10, true},
		{1, bound, true},
		{2, bound, false},
		{40, bound / 16, false},
	} {
		b := Builder{bound: bound}
		for round := range 2 { // it begins anew after Take
			for i := range c.messages {
				m := fmt.Appendf(nil, `[{"entity":"e","op":"upsert","key":{"id":%d},"row":{"v":"%s"}}]`, i, bytes.Repeat([]byte("x"), c.size))
				list, err := envelope.DecodeChanges(m)
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Add(m, list); err != nil {
					t.Fatal(err)
				}
			}
			changes, size := b.Take()
			if _, memory := changes.(waybill.ChangeList); memory != c.memory {
				t.Errorf("%+v round %d: in memory %v", c, round, memory)
			}
			if changes.Len() != c.messages || size > 2*bound+4096 {
				t.Errorf("%+v: %d changes, %d bytes in memory", c, changes.Len(), size)
			}
			i := 0
			for ch, err := range changes.All() {
				if err != nil {
					t.Fatal(err)
				}
				if got := ch.Key.String(); got != fmt.Sprintf(`{"id":%d}`, i) {
					t.Fatalf("%+v: change %d has key %s", c, i, got)
				}
				i++
			}
		}
	}
}
