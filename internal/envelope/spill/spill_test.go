package spill_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
	"github.com/waybill-data/waybill/internal/envelope/spill"
)

var _ waybill.Changes = (*spill.Changes)(nil)

func message(first, n int) []byte {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"entity":"e","op":"upsert","key":{"id":%d},"row":{"text":"%s"}}`, first+i, strings.Repeat("x", (first+i)%50))
	}
	return []byte("[" + b.String() + "]")
}

func add(c *spill.Changes, msg []byte) error {
	list, err := envelope.DecodeChanges(msg)
	if err != nil {
		return err
	}
	return c.Append(msg, list)
}

// collect iterates up to most changes.
func collect(t interface{ Fatal(...any) }, c waybill.Changes, most int) []waybill.Change {
	var got []waybill.Change
	for ch, err := range c.All() {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, *ch); len(got) == most {
			break
		}
	}
	return got
}

// Whatever the bound and the messages, every iteration yields what was appended, in order.
func TestYieldsWhatWasAppended(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c := spill.New(dir, rapid.IntRange(1, 4000).Draw(t, "bound"))
		defer c.Close()
		var want []waybill.Change
		for range rapid.IntRange(0, 8).Draw(t, "messages") {
			msg := message(len(want), rapid.IntRange(0, 12).Draw(t, "changes"))
			list, err := envelope.DecodeChanges(msg)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, list...)
			if err := c.Append(msg, list); err != nil {
				t.Fatal(err)
			}
			most := rapid.IntRange(1, 100).Draw(t, "most")
			for _, most := range []int{most, 1 << 30} {
				if got := string(envelope.AppendChanges(nil, collect(t, c, most))); got != string(envelope.AppendChanges(nil, want[:min(most, len(want))])) {
					t.Fatalf("got %s", got)
				}
			}
		}
		if c.Len() != len(want) {
			t.Fatalf("Len is %d, want %d", c.Len(), len(want))
		}
	})
	requireEmpty(t, dir)
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left on disk: %v %v", left, err)
	}
}

func TestBoundAndFile(t *testing.T) {
	dir := t.TempDir()
	c := spill.New(dir, 10_000)
	for i := range 1000 {
		if err := add(c, message(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if c.InMemory() > 10_000 || c.InMemory() < 5_000 {
		t.Errorf("%d bytes in memory", c.InMemory())
	}
	requireEmpty(t, dir) // unlinked while in use
	if n := len(collect(t, c, 1<<30)); n != 1000 {
		t.Errorf("%d changes", n)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(c, message(0, 1)); err == nil {
		t.Error("appended after Close")
	}
	for _, err := range c.All() {
		if err == nil {
			t.Error("yielded a change after Close")
		}
	}
}

func TestErrors(t *testing.T) {
	c := spill.New(filepath.Join(t.TempDir(), "missing"), 1)
	defer c.Close()
	if err := add(c, message(0, 1)); !waybill.Transient(err) {
		t.Errorf("directory missing: %v", err)
	}
	if err := add(spill.New(os.DevNull, 1), message(0, 1)); err == nil {
		t.Error("a file was taken for a directory")
	}
}
