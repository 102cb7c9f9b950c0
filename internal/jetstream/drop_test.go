package jetstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// TestDropSubject: nothing goes while a consumer is registered; then all of the subject, with the
// position, and nothing of its neighbours.
func TestDropSubject(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	crm, erp := newFeed(t, q, "crm"), newFeed(t, q, "erp")
	for _, f := range []*feed{crm, erp, crm} {
		f.write(f.batch(3))
	}
	r := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/eu", MaxActions: 10, MaxBytes: 1 << 20})
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := q.ReadBy(ctx(t), "crm"); err != nil || strings.Join(got, " ") != "crm/eu" {
		t.Errorf("read by %v, %v", got, err)
	}
	if err := crm.w.Drop(ctx(t), "crm/embedded"); err == nil || !strings.Contains(err.Error(), "crm/eu") {
		t.Errorf("dropped under a consumer: %v", err)
	}
	if crm.resume(); crm.seq != 6 {
		t.Fatalf("seq %d after a drop that was refused, want 6", crm.seq)
	}
	if err := r.Drop(ctx(t), "crm/eu"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // dropping what is not there is no error
		if err := crm.w.Drop(ctx(t), "crm/embedded"); err != nil {
			t.Fatal(err)
		}
	}
	if crm.resume(); crm.pos != "" || crm.seq != 0 {
		t.Errorf("resumed at %q, seq %d", crm.pos, crm.seq)
	}
	if erp.resume(); erp.seq != 3 {
		t.Errorf("the neighbour resumed at seq %d, want 3", erp.seq)
	}
	crm.emit(conformance.Change(waybill.Upsert, "customer", `{"id":1}`, `{"name":"Ann"}`))
	if err := r.Open(ctx(t), ""); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := r.Next(ctx(t))
	if err != nil || len(b.Actions) != 1 || b.Actions[0].Seq != 1 {
		t.Errorf("read %v, %v; want the one new action", b.Actions, err)
	}
}

// TestDropMakesNothing where there was never a queue.
func TestDropMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	q := queueIn(t, dir, QueueOptions{})
	if err := NewWriter(q, WriterOptions{Subject: "crm"}).Drop(ctx(t), "crm/embedded"); err != nil {
		t.Error(err)
	}
	if got, err := q.ReadBy(ctx(t), "crm"); err != nil || len(got) > 0 {
		t.Errorf("read by %v, %v", got, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory was made: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := NewWriter(q, WriterOptions{Subject: "crm"}).Drop(ctx(t), "crm/embedded"); err != nil {
		t.Error(err)
	}
}

// TestCheck looks from outside at a directory in each of its states.
func TestCheck(t *testing.T) {
	states := func(q *Queue) string {
		t.Helper()
		found, err := q.Check(ctx(t), "crm/embedded")
		if err != nil {
			t.Fatal(err)
		}
		var s strings.Builder
		for _, f := range found {
			switch {
			case f.OK:
				s.WriteString("ok ")
			case f.Warn:
				s.WriteString("warning ")
			default:
				s.WriteString("missing ")
			}
			if f.OK != (f.Fix == "") {
				t.Errorf("%q has the remedy %q", f.What, f.Fix)
			}
		}
		return s.String()
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	small := QueueOptions{MaxBytes: 1 << 20}
	absent := queueIn(t, filepath.Join(dir, "a", "b"), small)
	there := queueIn(t, dir, small)
	for _, c := range []struct {
		name, want string
		queue      *Queue
	}{
		{"absent", "ok ok ", absent},
		{"there", "ok ok ", there},
		{"a file", "missing ", queueIn(t, file, small)},
		{"below a file", "missing ", queueIn(t, filepath.Join(file, "queue"), small)},
		{"larger than the disk", "ok warning ", queueIn(t, dir, QueueOptions{MaxBytes: 1 << 50})},
		{"a free port", "ok ok ok ", NewQueue(NewServer(ServerOptions{Dir: dir, Listen: "127.0.0.1:0"}), small)},
	} {
		if got := states(c.queue); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Error("Check made the directory")
	}
	hold(t, there) // as another process would
	if got := states(there); got != "ok ok ok " {
		t.Errorf("held: %s", got)
	}
	found, err := there.Check(ctx(t), "")
	if err != nil || !strings.HasPrefix(found[1].What, "process ") {
		t.Errorf("held: %v, %v", found, err)
	}
}
