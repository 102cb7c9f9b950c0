package jetstream

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

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
		if err := q.register(s, stream, subject); err != nil {
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

// TestQueueConformance: writer and reader together.
func TestQueueConformance(t *testing.T) { conformance.TestQueue(t, conformanceQueue) }

func conformanceQueue(t *testing.T, bytes int64) conformance.Queue {
	q := newQueue(t, QueueOptions{MaxBytes: bytes})
	with := func(t testing.TB, do func(s *session)) {
		t.Helper()
		s, err := q.open(ctx(t), "test")
		if err != nil {
			t.Fatal(err)
		}
		do(s)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	must := func(t testing.TB, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// held is a session from before the stream was damaged, which cannot be opened after.
	held, err := q.open(ctx(t), "test")
	must(t, err)
	t.Cleanup(func() { _ = held.close() })
	return conformance.Queue{
		Writer: func(_ testing.TB, subject string) waybill.Writer {
			return NewWriter(q, WriterOptions{Subject: subject})
		},
		Reader: func(_ testing.TB, subject, stream string) waybill.Reader {
			return NewReader(q, ReaderOptions{Subject: subject, Stream: stream})
		},
		Restart: func(testing.TB) { restart(q) },
		Remove: func(t testing.TB, subject string, i int) {
			with(t, func(s *session) {
				n := uint64(0)
				for range i + 1 {
					m, err := s.next(ctx(t), q.Stream+"."+subject, n+1)
					must(t, err)
					n = m.n
				}
				must(t, s.remove(ctx(t), n))
			})
		},
		Messages: func(t testing.TB, subject string) (n int) {
			with(t, func(s *session) {
				stream, err := s.js.Stream(ctx(t), q.Stream)
				must(t, err)
				info, err := stream.Info(ctx(t), jetstream.WithSubjectFilter(q.Stream+"."+subject))
				must(t, err)
				n = int(info.State.Subjects[q.Stream+"."+subject])
			})
			return n
		},
		Empty: func(t testing.TB) {
			stream, err := held.js.Stream(ctx(t), q.Stream)
			must(t, err)
			must(t, stream.Purge(ctx(t)))
		},
		Delete: func(t testing.TB) { must(t, held.js.DeleteStream(ctx(t), q.Stream)) },
		Swap: func(t testing.TB) {
			must(t, held.js.DeleteStream(ctx(t), q.Stream))
			// The server still removes the files of the one before.
			for range 100 {
				if _, err = held.js.CreateStream(ctx(t), q.config(map[string]string{idKey: "another"})); err == nil {
					break
				}
			}
			must(t, err)
		},
		Publish: func(t testing.TB, subject string, message []byte) {
			_, err := held.js.Publish(ctx(t), q.Stream+"."+subject, message)
			must(t, err)
		},
	}
}

// restart stops the server at once and starts it again, for everybody who uses it.
func restart(q *Queue) {
	s := q.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
	if err := s.run(context.Background()); err != nil {
		panic(err)
	}
}
