package demo

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	drawEvery   = 100 * time.Millisecond
	remindEvery = 5 * time.Second // where nobody watches
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

// draw keeps the status up to date until ctx ends.
func (s *show) draw(ctx context.Context) {
	every := drawEvery
	if s.Screen.Live == nil {
		every = remindEvery
	} else {
		defer s.Screen.Live("")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.Screen.Live != nil {
			s.Screen.Live(s.status())
		} else {
			s.event("%s", s.figures())
		}
	}
}

func (s *show) figures() string {
	applied := s.observer.applied.Load()
	written := max(s.workload.written.Load(), applied) // an action may be there before its clerk counts it
	return fmt.Sprintf("written %s · at CRM %s · waiting %s · looks %s",
		thousands(written), thousands(applied), thousands(written-applied), thousands(s.observer.looks.Load()))
}

// status is one line that fits the screen: figures, and a bar in the room that is left.
func (s *show) status() string {
	const widest = 30
	elapsed := time.Since(s.started).Seconds()
	at, figures := fmt.Sprintf("%5.1fs", elapsed), []rune(s.figures())
	room := s.Screen.Width() - len(at) - len(figures) - 4 // two gaps, and one column is left free
	if room < 0 {
		figures = figures[:max(0, len(figures)+room)]
	}
	width := min(max(room, 0), widest)
	full := int(min(elapsed/s.For.Seconds(), 1) * float64(width))
	bar := s.Screen.paint(cyan, strings.Repeat("━", full)) + s.Screen.paint(dim, strings.Repeat("─", width-full))
	return s.Screen.paint(dim, at) + "  " + bar + " " + string(figures)
}

// thousands writes n with separators: 12,345.
func thousands[T int | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// short is a duration as people say it.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
