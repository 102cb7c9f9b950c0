package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
	fmt.Fprintf(p.w, "%s  %s: %s → %s\n", p.paint(bold, c.Pipeline), c.Pattern, c.Source, c.Target)
	for _, f := range c.Findings {
		fmt.Fprintf(p.w, "  %s %s: %s\n", p.mark(f.State), f.At, wrap(f.What, 12, 12))
		if f.Fix != "" {
			fmt.Fprintf(p.w, "      fix: %s\n", indentBelow(strings.TrimSpace(f.Fix), 11))
		}
	}
	if len(c.Promise) > 0 {
		p.promise(c)
	}
	fmt.Fprintln(p.w)
}

func (p *printer) promise(c *pipelineCheck) {
	head := "promises"
	if !c.OK {
		head = "will promise, once the above is mended"
	}
	fmt.Fprintf(p.w, "  %s\n", head)
	for _, v := range c.Promise {
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
