package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/waybill-data/waybill/internal/config"
)

// app is one invocation of the program: its streams and its global flags.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr *liveLine

	configFile string
	output     choice
	logFormat  choice
	verbose    bool

	log     *slog.Logger
	started bool // the command line was understood and a verb is at work
	emitted bool // with -o json: the one object is on stdout
}

// execute runs one command line and returns the exit code.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		stdin: stdin, stdout: stdout, stderr: &liveLine{w: stderr},
		output: choice{"text", []string{"text", "json"}}, logFormat: choice{"text", []string{"text", "json"}},
	}
	ctx, stop := untilSignal(context.Background())
	defer stop()
	root := a.newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(a.stderr)
	if outputOf(args, "") == "json" && !strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		root.SetOut(a.stderr) // help is for people; stdout is for one object, or for nothing
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		a.output.value = outputOf(args, a.output.value)
		err = &usageError{fmt.Errorf("%w\nSee '%s --help'", err, cmd.CommandPath())}
	}
	if sig := endedBy(ctx); sig != nil && err != nil {
		err = sig
	}
	a.complain(err)
	return exitCode(err)
}

// outputOf finds --output where parsing ended before it: who asked for JSON gets JSON, also to
// learn of another flag's fault.
func outputOf(args []string, otherwise string) string {
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return "json"
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return "json"
			}
		}
	}
	return otherwise
}

// start is called once the command line is understood, before the verb.
func (a *app) start() {
	a.started = true
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	if a.logFormat.value == "json" {
		a.log = slog.New(slog.NewJSONHandler(a.stderr, opts))
		return
	}
	a.log = slog.New(slog.NewTextHandler(a.stderr, opts))
}

func (a *app) json() bool { return a.output.value == "json" }

// emit writes the verb's result to stdout: v as one JSON object, or what text writes.
func (a *app) emit(v any, text func(io.Writer)) error {
	var b bytes.Buffer
	if a.json() {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode output: %w", err)
		}
		a.emitted = true
	} else {
		text(&b)
	}
	if _, err := a.stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// failure is what -o json prints when there is nothing else to print.
type failure struct {
	Error failureDetail `json:"error"`
}

type failureDetail struct {
	Exit    int           `json:"exit"`
	Message string        `json:"message"`
	Faults  []faultDetail `json:"faults,omitempty"`
}

type faultDetail struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// complain tells people on stderr, and machines on stdout if they were told nothing yet.
func (a *app) complain(err error) {
	if err == nil {
		return
	}
	var faults config.Faults
	isFaults := errors.As(err, &faults)
	if isFaults { // each line begins with its place in the file, for editors to jump to
		fmt.Fprintln(a.stderr, err)
	} else {
		fmt.Fprintf(a.stderr, "waybill: %v\n", err)
	}
	if !a.json() || a.emitted {
		return
	}
	d := failureDetail{Exit: exitCode(err), Message: err.Error()}
	for _, f := range faults {
		d.Faults = append(d.Faults, faultDetail{f.File, f.Line, f.Column, f.Path, f.Message})
	}
	if err := a.emit(failure{d}, nil); err != nil {
		fmt.Fprintf(a.stderr, "waybill: %v\n", err)
	}
}

// terminal reports whether people watch the stream.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// choice is a flag that takes one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }

// Type names the value in --help.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	if slices.Contains(c.allowed, s) {
		c.value = s
		return nil
	}
	return fmt.Errorf("it takes one of %s", c.Type())
}
