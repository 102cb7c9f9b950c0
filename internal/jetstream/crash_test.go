package jetstream

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashRounds is how often a writing process is killed; each time somewhere else.
const crashRounds = 12

// TestKilledWhileWriting kills a process that writes atomic batches, again and again on one
// store. After each, every batch is there as a whole or not at all, and every acknowledged one is.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range crashRounds {
		cmd, out := child(t, "write", dir)
		if !out.Scan() || out.Text() != "open" {
			t.Fatalf("round %d: the child says %q", round, out.Text())
		}
		for n := 0; out.Scan(); n++ {
			if id, ok := strings.CutPrefix(out.Text(), "acked "); ok {
				acked[id] = true
			}
			if n == 0 { // how long after the first batch is what varies where the blow falls
				time.AfterFunc(time.Duration(round*3)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		checkBatches(t, dir, acked)
	}
	if len(acked) < crashRounds {
		t.Errorf("only %d batches were acknowledged: this tested little", len(acked))
	}
}

// checkBatches opens the store and verifies that every batch is whole.
func checkBatches(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	q := queueIn(t, dir, QueueOptions{})
	s, err := q.open(ctx(t), "check")
	if err != nil {
		t.Fatalf("open after a kill: %v", err)
	}
	defer s.close()
	got, want := readBatches(t, s), 0
	for id, b := range got {
		want += b.size
		if b.held != b.size {
			t.Errorf("batch %s: %d of %d messages", id, b.held, b.size)
		}
	}
	for id := range acked {
		if got[id] == nil {
			t.Errorf("batch %s was acknowledged and is not there", id)
		}
	}
	t.Logf("%d batches, %d messages, all whole", len(got), want)
}

type batchFound struct{ held, size int }

func readBatches(t *testing.T, s *session) map[string]*batchFound {
	t.Helper()
	got := map[string]*batchFound{}
	for seq := uint64(1); ; {
		m, err := s.nc.RequestWithContext(ctx(t), "$JS.API.DIRECT.GET.q", []byte(`{"next_by_subj":"q.>","seq":`+strconv.FormatUint(seq, 10)+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Status") == "404" {
			return got
		}
		id, size, _ := strings.Cut(string(m.Data), " ")
		size, _, _ = strings.Cut(size, " ")
		if got[id] == nil {
			got[id] = &batchFound{}
			got[id].size, _ = strconv.Atoi(size)
		}
		got[id].held++
		at, err := open(m)
		if err != nil {
			t.Fatal(err)
		}
		seq = at.n + 1
	}
}

// TestTornBatchIsMended: the end of a batch is missing, and so is the staged copy from which
// the server would complete it.
func TestTornBatchIsMended(t *testing.T) {
	dir := t.TempDir()
	q := queueIn(t, dir, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := publishBatch(s, "q.a", "whole", 3, 10); err != nil {
		t.Fatal(err)
	}
	if err := publishBatch(s, "q.a", "torn", 4, 10); err != nil {
		t.Fatal(err)
	}
	stream, err := s.js.Stream(ctx(t), "q")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(ctx(t), 7); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if s, err = q.open(ctx(t), "test"); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	got := readBatches(t, s)
	if len(got) != 1 || got["whole"].held != 3 {
		t.Fatalf("after mending: %v", got)
	}
}
