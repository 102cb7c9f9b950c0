package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/flock"
)

// Check is waybill.Checker's. It looks at the queue's directory from outside, whether a process
// has it or not, and changes nothing.
func (q *Queue) Check(ctx context.Context, _ string) ([]waybill.Finding, error) {
	dir := q.server.Dir
	found, there := checkDir(dir)
	holder, err := heldNow(dir)
	switch {
	case err != nil:
		found = append(found, waybill.Finding{What: err.Error(), Fix: "let this user read and write " + filepath.Join(dir, lockName)})
	case holder != "":
		found = append(found, waybill.Finding{OK: true, What: holder})
	case q.server.Listen != "":
		found = append(found, checkListen(ctx, q.server.Listen))
	}
	if there != "" {
		found = append(found, q.checkSpace(there))
	}
	return found, nil
}

// checkDir looks whether this process may write into dir, or make it. there is the nearest
// directory that exists.
func checkDir(dir string) (found []waybill.Finding, there string) {
	there = dir
	for {
		info, err := os.Stat(there)
		switch {
		case err == nil && !info.IsDir():
			return []waybill.Finding{{What: fmt.Sprintf("%s is not a directory", there), Fix: "set queue.embedded.dir to a directory of its own"}}, ""
		case err == nil:
			return []waybill.Finding{checkWrite(dir, there)}, there
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR), there == filepath.Dir(there):
			return []waybill.Finding{{What: fmt.Sprintf("the queue directory cannot be looked at: %v", err), Fix: "let this user read and write " + dir}}, ""
		}
		there = filepath.Dir(there)
	}
}

func checkWrite(dir, there string) waybill.Finding {
	err := unix.Access(there, unix.W_OK|unix.X_OK)
	switch {
	case err != nil:
		return waybill.Finding{What: fmt.Sprintf("%s cannot be written: %v", there, err), Fix: "let this user write it, or set queue.embedded.dir to another directory"}
	case there != dir:
		return waybill.Finding{OK: true, What: fmt.Sprintf("the queue directory %s is not there yet and can be made", dir)}
	}
	return waybill.Finding{OK: true, What: fmt.Sprintf("the queue directory %s is there and can be written", dir)}
}

// heldNow names the process that has dir, "" for none. It takes no lock that it would not give
// back at once.
func heldNow(dir string) (string, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open lock file: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	if free, err := flock.Try(f, flock.Shared); free || err != nil {
		return "", nil // free, or a file system without flock, which the engine will name
	}
	return strings.TrimPrefix(heldBy(dir, f).Error(), waybill.ErrHeld.Error()+": "), nil
}

// checkListen looks whether the address is free.
func checkListen(ctx context.Context, listen string) waybill.Finding {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return waybill.Finding{What: fmt.Sprintf("NATS clients cannot be let in at %s: %v", listen, err), Fix: "choose another queue.embedded.listen, or free the port"}
	}
	return waybill.Finding{OK: true, What: fmt.Sprintf("NATS clients can be let in at %s", listen)}
}

// checkSpace compares what is free with what the queue may still take.
func (q *Queue) checkSpace(there string) waybill.Finding {
	free, _, err := space(there)
	if err != nil {
		return waybill.Finding{Warn: true, What: err.Error()}
	}
	used := treeBytes(filepath.Join(q.server.Dir, "jetstream", "$G", "streams", q.Stream))
	if free >= q.MaxBytes-used {
		return waybill.Finding{OK: true, What: fmt.Sprintf("there are %s free, enough for max_bytes of %s", sizeText(free), sizeText(q.MaxBytes))}
	}
	return waybill.Finding{
		Warn: true,
		What: fmt.Sprintf("there are %s free in %s, less than the queue may still take (max_bytes is %s): the disk would be full first, and the source held back", sizeText(free), there, sizeText(q.MaxBytes)),
		Fix:  "lower max_bytes, or make room",
	}
}

// treeBytes is the size of the files below dir, as far as it can be seen.
func treeBytes(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go while the engine runs
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
