package demo

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	drawEvery   = 100 * time.Millisecond
	remindEvery = time.Second // where nobody watches, and the CRM is away
	remindNth   = 5           // of these, else
)

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *Screen) paint(code, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// event writes one line of what happened.
func (s *show) event(format string, args ...any) {
	at := fmt.Sprintf("%5.1fs", time.Since(s.started).Seconds())
	fmt.Fprintf(s.Screen.W, "%s  %s\n", s.Screen.paint(dim, at), fmt.Sprintf(format, args...))
}

// draw keeps the picture up to date until ctx ends.
func (s *show) draw(ctx context.Context) {
	every := drawEvery
	if s.Screen.Live == nil {
		every = remindEvery
	} else {
		defer s.Screen.Live("")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch {
		case s.Screen.Live != nil:
			s.Screen.Live(s.picture())
		case s.gauge.away.Load() || n%remindNth == 0:
			s.event("%s", s.figures())
		}
	}
}

// figures is the picture in one plain line.
func (s *show) figures() string {
	l := s.gauge.level(toCRM)
	return fmt.Sprintf("%s saved · at the CRM %s, queued %s (%s) · at the warehouse %s, queued %s",
		thousands(s.workload.written.Load()),
		thousands(s.observer.applied.Load()), thousands(l.Actions), size(l.Bytes),
		thousands(s.glancer.applied.Load()), thousands(s.gauge.level(toWarehouse).Actions))
}

// The parts of the picture, in columns.
const (
	timeWidth   = 8  // of the time, before everything
	nameWidth   = 20 // of "queue ▶ warehouse" and the gap behind it
	shortestBar = 8
	widestBar   = 50
	textWidth   = 24 // behind a bar
)

// picture is three lines that fit the screen: how far the demo is, and how full the queue is for
// either target.
func (s *show) picture() string {
	elapsed := time.Since(s.started)
	lines := []string{s.line(fmt.Sprintf("%5.1fs", elapsed.Seconds()), "clerks at work", "",
		cyan, elapsed.Seconds()/s.For.Seconds(), thousands(s.workload.written.Load())+" saved")}
	for _, t := range []struct{ stream, name string }{{toCRM, "queue ▶ CRM"}, {toWarehouse, "queue ▶ warehouse"}} {
		name, nameColour, colour := t.name, "", green
		if t.stream == toCRM && s.gauge.away.Load() {
			name, nameColour, colour = "queue ▶ CRM away", yellow, yellow
		}
		l := s.gauge.level(t.stream)
		text := thousands(l.Actions) + " wait"
		if l.Bytes > 0 {
			text += ", " + size(l.Bytes)
		}
		lines = append(lines, s.line("", name, nameColour, colour, float64(l.Actions)/s.most(), text))
	}
	return strings.Join(lines, "\n")
}

// most is how many actions fill a bar: what is about to gather in the long outage, or more.
func (s *show) most() float64 {
	var longest time.Duration
	for _, step := range plan(s.For) {
		longest = max(longest, step.length)
	}
	return max(longest.Seconds()*actionsASecond*1.1, float64(s.gauge.peak(toCRM).Actions))
}

// line is a name, a bar where there is room for one, and a text that is cut where it does not fit.
func (s *show) line(at, name, nameColour, barColour string, share float64, text string) string {
	const least = timeWidth + nameWidth
	width := s.Screen.Width() - 1 // the last column is left free
	if width < least {
		r := []rune(fmt.Sprintf("%-*s", timeWidth, at) + name)
		return string(r[:max(0, min(width, len(r)))])
	}
	name = fmt.Sprintf("%-*s", nameWidth, name)
	if nameColour != "" {
		name = s.Screen.paint(nameColour, name)
	}
	line, room := s.Screen.paint(dim, fmt.Sprintf("%-*s", timeWidth, at))+name, width-least
	if bar := min(room-textWidth, widestBar); bar >= shortestBar {
		line += s.bar(barColour, share, bar) + "  "
		room = textWidth - 2
	}
	if r := []rune(text); len(r) > room {
		text = string(r[:room])
	}
	return line + text
}

// bar is a share of width, in eighths of a column.
func (s *show) bar(colour string, share float64, width int) string {
	eighths := int(min(max(share, 0), 1) * float64(width) * 8)
	full := strings.Repeat("█", eighths/8)
	if part := eighths % 8; part > 0 {
		full += string([]rune(" ▏▎▍▌▋▊▉")[part])
	}
	rest := width - len([]rune(full))
	return s.Screen.paint(colour, full) + s.Screen.paint(dim, strings.Repeat("░", rest))
}

// chart is a course in columns of eight heights; top fills one. What is more than nothing shows.
func chart(course []int64, top int64) string {
	var b strings.Builder
	for _, v := range course {
		if v == 0 || top == 0 {
			b.WriteRune('▁')
			continue
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[min(v*8/(top+1), 7)])
	}
	return b.String()
}

// thousands writes n with separators: 12,345.
func thousands[T int | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// size writes a size as people say it: 3.5 MB.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// short is a duration as people say it.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// fine is a short time, given in seconds.
func fine(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1000) }
