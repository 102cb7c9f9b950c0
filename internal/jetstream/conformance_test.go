package jetstream

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// TestReaderConformance: the reader, fed by a writer.
func TestReaderConformance(t *testing.T) { conformance.TestReader(t, conformanceSource) }

func conformanceSource(t *testing.T) conformance.Source {
	const subject, main = "orders", "orders/main"
	dir := filepath.Join(t.TempDir(), "queue")
	q := queueIn(t, dir, QueueOptions{})
	release := hold(t, q)
	f := newFeed(t, q, subject)
	register := func(t testing.TB, stream string) {
		t.Helper()
		s, err := q.open(ctx(t), "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := q.register(ctx(t), s, stream, subject); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	register(t, main)
	consumer := func(t testing.TB, stream string) waybill.Reader {
		register(t, stream)
		return NewReader(q, ReaderOptions{Subject: subject, Stream: stream, MaxActions: 10, MaxBytes: 1 << 20})
	}
	// stop ends the server, hard for its clients; start gives the feed a connection again.
	stop := func() {
		if err := f.w.Close(); err != nil {
			t.Error(err)
		}
		release()
	}
	start := func() {
		release = hold(t, q)
		f.resume()
		register(t, main)
	}
	return conformance.Source{
		New: func(testing.TB) waybill.Reader {
			return NewReader(q, ReaderOptions{Subject: subject, Stream: main, MaxActions: 10, MaxBytes: 1 << 20})
		},
		Emit:  func(_ testing.TB, changes ...waybill.Change) string { return f.emit(changes...) },
		Exact: true, MaxActions: 10, MaxBytes: 1 << 20,
		Consumer: consumer,
		Malformed: func(t testing.TB) {
			if _, err := f.w.p.s.js.Publish(ctx(t), q.Stream+"."+subject, []byte(`{"specversion":"1.0","id":"x"}`)); err != nil {
				t.Fatal(err)
			}
			f.w.tail++ // its place in the subject is taken as it comes
			f.w.last++
		},
		Swap: func(t testing.TB) {
			stop()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			*q = *queueIn(t, dir, QueueOptions{})
			f = newFeed(t, q, subject)
			release = hold(t, q)
			register(t, main)
		},
		Backup: func(t testing.TB) func(testing.TB) {
			stop()
			saved := filepath.Join(t.TempDir(), "saved")
			if err := os.CopyFS(saved, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			start()
			return func(t testing.TB) {
				stop()
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(dir, os.DirFS(saved)); err != nil {
					t.Fatal(err)
				}
				*q = *queueIn(t, dir, QueueOptions{})
				f = newFeed(t, q, subject)
				release = hold(t, q)
			}
		},
	}
}
