package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxFaults bounds how many faults one file is reported with.
const maxFaults = 1000

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	File         string
	Line, Column int    // from 1, columns in characters; 0 where the file as a whole is meant
	Path         string // pipelines.crm.source.postgres.url; empty for the file as a whole
	Message      string // one clause; never a secret nor what a variable holds
}

// String is the fault in one line: waybill.yaml:7:5: pipelines.crm.batch.max_actions: must be …
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	if f.Path != "" {
		b.WriteString(": " + f.Path)
	}
	b.WriteString(": " + f.Message)
	return b.String()
}

// Faults is everything that is wrong with a configuration, in the order of the file. As an
// error it means that the user's input is at fault and that nothing was connected to.
type Faults []Fault //nolint:errname // named for what it lists

// Error lists the faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file.
type position struct{ line, col int }

// collector gathers faults.
type collector struct {
	file   string
	faults Faults
	more   int // faults beyond maxFaults
}

func (c *collector) add(at position, path, format string, args ...any) {
	if len(c.faults) >= maxFaults {
		c.more++
		return
	}
	c.faults = append(c.faults, Fault{
		File: c.file, Line: at.line, Column: at.col, Path: path, Message: fmt.Sprintf(format, args...),
	})
}

// err is nil, or all faults in the order of the file.
func (c *collector) err() error {
	if len(c.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(c.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	if c.more > 0 {
		c.faults = append(c.faults, Fault{File: c.file, Message: fmt.Sprintf("%d more faults are not listed", c.more)})
	}
	return c.faults
}
