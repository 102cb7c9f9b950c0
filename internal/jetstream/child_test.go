package jetstream

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// What a child process of the tests is to do, and in which directory.
const (
	childRole = "WAYBILL_TEST_CHILD"
	childDir  = "WAYBILL_TEST_DIR"
)

// TestChild is what the processes that other tests start and kill run; by itself it is empty.
func TestChild(t *testing.T) {
	role, n, _ := strings.Cut(os.Getenv(childRole), ":")
	count, _ := strconv.Atoi(n)
	switch role {
	case "hold":
		childHold(t)
	case "write":
		childWrite(t)
	case "write-actions":
		childWriteActions(t)
	case "large":
		childLarge(t, count)
	}
}

// child starts this test binary in a role. What it prints comes back line by line.
func child(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// childHold has the directory until standard output is gone.
func childHold(t *testing.T) {
	s := NewServer(ServerOptions{Dir: os.Getenv(childDir)})
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	select {}
}

// childWrite writes batches for two subjects until it is killed, and tells which were acknowledged.
func childWrite(t *testing.T) {
	q := queueIn(t, os.Getenv(childDir), QueueOptions{})
	s, err := q.open(context.Background(), "child")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	start := time.Now().UnixNano()
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d.%d", start, i)
		if err := publishBatch(s, fmt.Sprintf("q.s%d", i%2), id, 20+i%7*60, 300); err != nil {
			t.Fatal(err)
		}
		fmt.Println("acked", id)
	}
}

// batchWithin bounds the wait for the end of a batch; a store that failed does not answer.
const batchWithin = 3 * time.Second

// publishBatch writes n messages of size bytes as one atomic batch; each holds "ID N".
func publishBatch(s *session, subject, id string, n, size int) error {
	for i := 1; i <= n; i++ {
		m := nats.NewMsg(subject)
		m.Header["Nats-Batch-Id"] = []string{id}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i)}
		text := fmt.Sprintf("%s %d ", id, n)
		m.Data = []byte(text + strings.Repeat("x", max(0, size-len(text))))
		if i < n {
			if err := s.nc.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		m.Header["Nats-Batch-Commit"] = []string{"1"}
		r, err := s.nc.RequestMsg(m, batchWithin)
		if err != nil {
			return err
		}
		if strings.Contains(string(r.Data), `"error"`) {
			return fmt.Errorf("publish batch: %s", r.Data)
		}
	}
	return nil
}
