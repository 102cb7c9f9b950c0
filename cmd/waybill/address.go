package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/waybill-data/waybill/internal/config"
)

// addressFile is where an engine whose admin.listen leaves the port to the system notes the
// address that it got, beside its state store. An engine that was killed leaves it behind: the
// next one replaces it. One that stands by on the same state directory leaves it alone until it
// is the directory's engine.
type addressFile struct {
	cfg *config.Config
	log *slog.Logger

	mu   sync.Mutex
	addr string // that is open
	mine bool   // this process is the engine of the directory
}

// opened tells the address that is open, and whether this is the directory's engine.
func (f *addressFile) opened(addr string, mine bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addr, f.mine = addr, mine
	if mine {
		f.write(addr)
	}
}

// ours says that this process is the directory's engine now; it may be said again.
func (f *addressFile) ours() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mine || f.addr == "" {
		return
	}
	f.mine = true
	f.write(f.addr)
}

// leave removes the note of this process.
func (f *addressFile) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mine {
		f.remove()
	}
}

func (f *addressFile) path() string { return f.cfg.State.SQLite.Path + ".admin" }

// needed tells whether the configuration leaves the port open.
func (f *addressFile) needed() bool {
	_, port, err := net.SplitHostPort(f.cfg.Admin.Listen)
	return err == nil && strings.Trim(port, "0") == ""
}

// write notes the address; without it the engine runs as well.
func (f *addressFile) write(addr string) {
	if !f.needed() {
		return
	}
	tmp := f.path() + ".new"
	err := os.WriteFile(tmp, []byte(addr+"\n"), 0o600)
	if err == nil {
		err = os.Rename(tmp, f.path())
	}
	if err != nil {
		f.log.Warn("the admin address could not be noted; status will not find this engine", "error", err)
	}
}

func (f *addressFile) remove() {
	if f.needed() {
		_ = os.Remove(f.path()) // one that stays is found out by whoever asks there
	}
}

// read is the address to ask.
func (f *addressFile) read() (string, error) {
	if !f.needed() {
		return f.cfg.Admin.Listen, nil
	}
	text, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: admin.listen %s leaves the port open, and no engine noted one in %s; "+
			"start one with: waybill run", errNoEngine, f.cfg.Admin.Listen, f.path())
	}
	if err != nil {
		return "", fmt.Errorf("find the engine's address: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
