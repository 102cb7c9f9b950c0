package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waybill-data/waybill/internal/pattern"
)

// printer writes findings and promises for people; colours only on a terminal.
type printer struct {
	w      io.Writer
	colour bool
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

const (
	lineWidth    = 110
	reasonIndent = 15
)

// wrap breaks s at spaces, given the width of what stands before it, and indents all lines but
// the first. Words that are too long stay whole: they are what people copy.
func wrap(s string, before, indent int) string {
	var b strings.Builder
	width := before
	for i, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case width+1+n > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			width = indent
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += n
	}
	return b.String()
}

// indentBelow indents all lines but the first.
func indentBelow(s string, by int) string {
	return strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", by))
}

func (p *printer) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) mark(state string) string {
	switch state {
	case stateOK:
		return p.paint(green, "✓")
	case stateWarning:
		return p.paint(yellow, "!")
	default:
		return p.paint(red, "✗")
	}
}

func (p *printer) check(c *pipelineCheck) {
	way := slices.DeleteFunc([]string{c.Source, c.Queue, c.Target}, func(s string) bool { return s == "" })
	fmt.Fprintf(p.w, "%s  %s: %s\n", p.paint(bold, c.Pipeline), c.Pattern, strings.Join(way, " → "))
	for _, f := range c.Findings {
		at := f.At
		if f.Target != "" {
			at += " " + f.Target
		}
		fmt.Fprintf(p.w, "  %s %s: %s\n", p.mark(f.State), at, wrap(f.What, 6+utf8.RuneCountInString(at), 12))
		if f.Fix != "" {
			fmt.Fprintf(p.w, "      fix: %s\n", indentBelow(strings.TrimSpace(f.Fix), 11))
		}
	}
	switch {
	case len(c.Promise) == 0:
	case c.samePromises():
		p.promise(c, c.Promise, "")
	default:
		for _, t := range c.Targets {
			p.promise(c, t.Promise, " to "+t.Target)
		}
	}
	fmt.Fprintln(p.w)
}

// samePromises reports whether all targets get the same for the same reasons.
func (c *pipelineCheck) samePromises() bool {
	for i := range c.Targets {
		for j, v := range c.Targets[i].Promise {
			first := c.Targets[0].Promise[j]
			if v.Holds != first.Holds || !slices.Equal(v.Reasons, first.Reasons) {
				return false
			}
		}
	}
	return true
}

func (p *printer) promise(c *pipelineCheck, promise []pattern.Verdict, to string) {
	head := "promises" + to
	if !c.OK {
		head = "will promise" + to + ", once the above is mended"
	}
	switch {
	case len(c.Targets) == 0:
		head += ", as far as the queue"
	case c.Source == "":
		head += ", from the queue on"
	}
	fmt.Fprintf(p.w, "  %s\n", head)
	for _, v := range promise {
		state := stateOK
		if !v.Holds {
			state = stateMissing
		}
		reasons := v.Reasons
		if len(reasons) == 0 {
			reasons = []string{"no part promises it"}
		}
		fmt.Fprintf(p.w, "    %s %-9s", p.mark(state), v.Property)
		for i, reason := range reasons {
			if i > 0 {
				fmt.Fprint(p.w, strings.Repeat(" ", reasonIndent))
			}
			fmt.Fprintln(p.w, wrap(reason, reasonIndent, reasonIndent+2))
		}
	}
}
