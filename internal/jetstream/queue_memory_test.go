package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// TestGaps damages a store between two processes, or beside a running one.
func TestGaps(t *testing.T) {
	streams := filepath.Join("jetstream", "$G", "streams")
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		gap    string // in the error's text; empty: none
	}{
		"untouched":                  {func(*testing.T, string) {}, ""},
		"all removed":                {func(t *testing.T, dir string) { remove(t, dir) }, ""},
		"the note is removed":        {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, memoryName)) }, ""},
		"the store is removed":       {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "jetstream")) }, "existed"},
		"the stream is removed":      {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, streams, "q")) }, "existed"},
		"its messages are removed":   {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, streams, "q", "msgs")) }, "ends at"},
		"its description is removed": {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, streams, "q", "meta.inf")) }, "existed"},
		"a message is damaged":       {func(t *testing.T, dir string) { flip(t, filepath.Join(dir, streams, "q", "msgs"), true) }, "q"},
		"a message is damaged, and the index is gone": {func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, streams, "q", "msgs"), true)
			remove(t, filepath.Join(dir, streams, "q", "msgs", "index.db"))
		}, "q"},
		"an older copy": {func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "jetstream"))
			if err := os.CopyFS(filepath.Join(dir, "jetstream"), os.DirFS(filepath.Join(dir, "copy"))); err != nil {
				t.Fatal(err)
			}
		}, "ends at"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for round := range 2 {
				q := queueIn(t, dir, QueueOptions{})
				s, err := q.open(ctx(t), "test")
				if err != nil {
					t.Fatal(err)
				}
				if err := publishBatch(s, "q.a", "b", 100, 1000); err != nil {
					t.Fatal(err)
				}
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				if round == 0 {
					if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(filepath.Join(dir, "jetstream"))); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.damage(t, dir)
			q := queueIn(t, dir, QueueOptions{})
			s, err := q.open(ctx(t), "test")
			if err == nil {
				defer s.close()
			}
			switch {
			case c.gap == "" && err != nil:
				t.Fatalf("open: %v", err)
			case c.gap != "" && (!errors.Is(err, waybill.ErrGap) || !strings.Contains(err.Error(), c.gap)):
				t.Fatalf("open: %v, want a gap that says %q", err, c.gap)
			case c.gap != "" && waybill.Transient(err):
				t.Fatalf("a gap is called transient: %v", err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// flip changes bytes in the middle of the first block.
func flip(t *testing.T, dir string, middle bool) {
	t.Helper()
	path := filepath.Join(dir, "1.blk")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(text) / 2; i < len(text)/2+64; i++ {
		text[i] ^= 0x55
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStreamThatVanishesIsAGap(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	put(t, s, "q.a")
	if err := s.js.DeleteStream(ctx(t), "q"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := q.open(ctx(t), "again"); !errors.Is(err, waybill.ErrGap) {
			t.Fatalf("open after the stream's end: %v", err)
		}
	}
	if _, err := s.js.CreateStream(ctx(t), q.config(map[string]string{idKey: "other"})); err != nil {
		t.Fatal(err)
	}
	if _, err := q.open(ctx(t), "again"); !errors.Is(err, waybill.ErrGap) || !strings.Contains(err.Error(), "another") {
		t.Fatalf("open of another stream: %v", err)
	}
}

func TestForeignStreamIsRefused(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	nc, err := q.server.connect("foreign")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx(t), natsjs.StreamConfig{Name: "q", Subjects: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.open(ctx(t), "test"); err == nil || !strings.Contains(err.Error(), "not made by Waybill") {
		t.Fatalf("open: %v", err)
	}
}

func TestMaxBytesCanChange(t *testing.T) {
	dir := t.TempDir()
	for _, bound := range []int64{1 << 20, 8 << 20, 64 << 10} {
		q := queueIn(t, dir, QueueOptions{MaxBytes: bound})
		s, err := q.open(ctx(t), "test")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := s.js.Stream(ctx(t), "q")
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config.MaxBytes; got != bound {
			t.Errorf("max_bytes %d, want %d", got, bound)
		}
		if bound == 1<<20 {
			if err := publishBatch(s, "q.a", "b", 200, 1000); err != nil {
				t.Fatal(err)
			}
		}
		if n := stream.CachedInfo().State.Msgs; bound != 1<<20 && n != 200 {
			t.Errorf("with %d: %d messages held", bound, n)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}
