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

// Messages of another form are read back by the decoder given, a new one each time.
func TestDecoderReadsBack(t *testing.T) {
	made := 0
	b := Builder{bound: 1, Decoder: func() func([]byte) (waybill.ChangeList, error) {
		made++
		return func(wrapped []byte) (waybill.ChangeList, error) {
			return envelope.DecodeChanges(bytes.TrimPrefix(wrapped, []byte("wrapped")))
		}
	}}
	for range 2 {
		for i := range 3 {
			message := fmt.Appendf(nil, `[{"entity":"e","op":"delete","key":{"id":%d}}]`, i)
			list, err := envelope.DecodeChanges(message)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Add(append([]byte("wrapped"), message...), list); err != nil {
				t.Fatal(err)
			}
		}
		changes, _ := b.Take()
		if _, memory := changes.(waybill.ChangeList); memory {
			t.Fatal("nothing was spilled")
		}
		for range 2 {
			i := 0
			for c, err := range changes.All() {
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf(`{"id":%d}`, i); c.Key.String() != want {
					t.Fatalf("change %d has key %s", i, c.Key)
				}
				i++
			}
			if i != 3 {
				t.Errorf("%d changes", i)
			}
		}
	}
	if made != 4 {
		t.Errorf("%d decoders for 4 iterations", made)
	}
}
