package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill/internal/demo"
)

func (a *app) newDemoCommand() *cobra.Command {
	var (
		length time.Duration
		dir    string
		keep   bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a live integration that is broken on purpose",
		Long: `Runs a customer master, a CRM and a warehouse, all SQLite, with people at work in the master,
and waybill carrying what they do through a queue on disk to the other two. Meanwhile the
engine is killed in the middle of its transactions, of its writes to the queue, and with the
queue full; the CRM is taken away twice, and the queue is seen filling and draining while
neither the people nor the warehouse wait; observers look for half-done work. At the end all
databases are compared by plain SQL that shares no code with the engine.

Nothing is needed and nothing is left behind, unless --dir or --keep says so or something was
found. Exit 3 if the databases differ.`,
		Example: "  waybill demo\n  waybill demo --for 1m --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if length < demo.MinFor || length > demo.MaxFor {
				return &usageError{fmt.Errorf("--for %s: it takes %s to %s", length, demo.MinFor, demo.MaxFor)}
			}
			return a.demo(cmd.Context(), length, dir, keep || dir != "")
		},
	}
	cmd.Flags().DurationVar(&length, "for", 24*time.Second, "how long people work; the rest takes a few seconds more")
	cmd.Flags().StringVar(&dir, "dir", "", "where databases and queue are made and kept: a new or empty `DIR`")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep databases and queue, and say where they are")
	return cmd
}

func (a *app) demo(ctx context.Context, length time.Duration, dir string, keep bool) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to run it as an engine: %w", err)
	}
	if dir, err = demoDir(dir); err != nil {
		return err
	}
	defer func() {
		if keep {
			return
		}
		if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, fmt.Errorf("remove the demo's files: %w", e))
		}
	}()
	screen := demo.Screen{W: a.stderr, Colour: coloured(a.stderr.w)}
	if a.stderr.watched() {
		screen.Live, screen.Width = a.stderr.show, a.stderr.width
	}
	report, err := demo.Run(ctx, demo.Options{Exe: exe, Dir: dir, For: length, Screen: screen})
	if err != nil {
		if keep {
			err = fmt.Errorf("%w (what is there so far is in %s)", err, dir)
		}
		return err
	}
	if keep = keep || !report.Passed; !keep { // what failed is kept to be looked into
		report.Dir = ""
	}
	if err := a.emit(report, func(w io.Writer) { report.Print(w, coloured(a.stdout)) }); err != nil {
		return err
	}
	switch {
	case report.Differences() > 0:
		return &differenceError{fmt.Errorf("the demo %s", report.Fault)}
	case !report.Passed:
		return fmt.Errorf("the demo did not run as it should: %s", report.Fault)
	}
	return nil
}

// demoDir is the directory named, which must be new or empty, or else a temporary one.
func demoDir(dir string) (string, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "waybill-demo-")
		if err != nil {
			return "", fmt.Errorf("make a directory for the demo: %w", err)
		}
		return dir, nil
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = demo.CheckDir(dir)
	}
	if err != nil {
		return "", &usageError{fmt.Errorf("--dir: %w", err)}
	}
	return dir, nil
}

// width is the number of columns of the terminal; 80 where that cannot be known.
func (l *liveLine) width() int {
	f, ok := l.w.(*os.File)
	if !ok {
		return 80
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

// coloured reports whether people watch who want colours (https://no-color.org).
func coloured(w any) bool { return terminal(w) && os.Getenv("NO_COLOR") == "" }
