package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// watcher stops a server when this process ends, however it ends: a shell that waits on a
// pipe of which this process holds the other end.
type watcher struct {
	shell *exec.Cmd
	pipe  *os.File
}

func watch(pid int) (*watcher, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	shell := exec.Command("/bin/sh", "-c", "read released || kill -QUIT "+strconv.Itoa(pid))
	shell.Stdin = r
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := shell.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("start watcher: %w", err)
	}
	return &watcher{shell: shell, pipe: w}, nil
}

// release ends the watcher without touching the server.
func (w *watcher) release() {
	_, _ = w.pipe.WriteString("released\n")
	_ = w.pipe.Close()
	_ = w.shell.Wait()
}
