package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill"
)

// smallDisk mounts a file system of its own, in bytes.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("NOT TESTED: a full disk. This needs the right to mount a file system; run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// After a failed write the server may keep a removed file of its staging area open.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// occupy fills dir's file system with a foreign file but for leave bytes.
func occupy(t *testing.T, dir string, leave int64) (vacate func()) {
	t.Helper()
	free, _, err := space(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "foreign")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, free-leave); err != nil {
		t.Fatal(err)
	}
	f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRoomIsLookedAtBeforeWriting(t *testing.T) {
	dir := filepath.Join(smallDisk(t, 48<<20), "queue")
	q := queueIn(t, dir, QueueOptions{})
	hold(t, q)
	if err := q.server.room(4 << 20); err != nil {
		t.Fatalf("an empty disk of 48 MiB: %v", err)
	}
	vacate := occupy(t, dir, 5<<20)
	err := q.server.room(4 << 20)
	if !waybill.Transient(err) || !strings.Contains(err.Error(), dir) ||
		!strings.Contains(err.Error(), "free") || !strings.Contains(err.Error(), "needed") {
		t.Fatalf("a nearly full disk: %v", err)
	}
	t.Log(err)
	vacate()
	if err := q.server.room(4 << 20); err != nil {
		t.Fatalf("space is back: %v", err)
	}
}

// TestDiskFullInTheMiddle has the disk fill up although room was looked at, at many points of a
// write. Nothing acknowledged is lost, no batch is torn, and the process goes on.
func TestDiskFullInTheMiddle(t *testing.T) {
	mount := smallDisk(t, 48<<20)
	dir := filepath.Join(mount, "queue")
	q := queueIn(t, dir, QueueOptions{})
	hold(t, q)
	acked, n, failed := map[string]bool{}, 0, 0
	write := func() error {
		s, err := q.open(ctx(t), "test")
		if err != nil {
			return err
		}
		defer s.close()
		n++
		id := fmt.Sprintf("b%d", n)
		if err = publishBatch(s, "q.a", id, 200, 1000); err == nil {
			acked[id] = true
		}
		return err
	}
	for leave := int64(0); leave <= 480<<10; leave += 96 << 10 {
		if err := write(); err != nil {
			t.Fatalf("write with space: %v", err)
		}
		vacate := occupy(t, dir, leave)
		err := write()
		for tries := 0; err == nil && tries < 5; tries++ {
			err = write()
		}
		if err == nil {
			t.Fatalf("five batches fit into %d bytes", leave)
		}
		failed++
		q.server.broken(ctx(t), err)
		vacate()
		q.server.broken(ctx(t), err)
		if err := write(); err != nil {
			t.Fatalf("write when space is back after %d bytes were left: %v", leave, err)
		}
		s, err := q.open(ctx(t), "check")
		if err != nil {
			t.Fatal(err)
		}
		got := readBatches(t, s)
		_ = s.close()
		for id, b := range got {
			if b.held != b.size {
				t.Errorf("%d bytes left: batch %s holds %d of %d", leave, id, b.held, b.size)
			}
		}
		for id := range acked {
			if got[id] == nil {
				t.Errorf("%d bytes left: batch %s was acknowledged and is gone", leave, id)
			}
		}
	}
	t.Logf("%d writes failed, %d batches were acknowledged", failed, len(acked))
}
