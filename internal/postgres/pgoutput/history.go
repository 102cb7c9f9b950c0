package pgoutput

import (
	"bytes"
	"fmt"
	"strconv"
)

// Fork is an ancestor of a timeline: the log of Timeline is part of its history up to End.
type Fork struct {
	Timeline uint32
	End      LSN
}

// ParseHistory reads a timeline's history file, which TIMELINE_HISTORY returns as content: its
// ancestors, oldest first. Timeline 1 has no such file.
func ParseHistory(text []byte) ([]Fork, error) {
	var history []Fork
	number := 0
	for line := range bytes.Lines(text) {
		number++
		fields := bytes.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		fork, err := parseFork(fields)
		if err != nil {
			return nil, fmt.Errorf("read timeline history, line %d: %w", number, err)
		}
		if n := len(history); n > 0 && (fork.Timeline <= history[n-1].Timeline || fork.End < history[n-1].End) {
			return nil, fmt.Errorf("read timeline history, line %d: timeline %d at %s does not follow timeline %d at %s",
				number, fork.Timeline, fork.End, history[n-1].Timeline, history[n-1].End)
		}
		history = append(history, fork)
	}
	return history, nil
}

// parseFork reads a line: the timeline, where it was left, and a reason in free text.
func parseFork(fields [][]byte) (Fork, error) {
	timeline, err := strconv.ParseUint(string(fields[0]), 10, 32)
	if err != nil || timeline == 0 {
		return Fork{}, fmt.Errorf("%.40q is no timeline", fields[0])
	}
	if len(fields) < 2 {
		return Fork{}, fmt.Errorf("where timeline %d was left is missing", timeline)
	}
	end, err := ParseLSN(string(fields[1]))
	if err != nil {
		return Fork{}, err
	}
	return Fork{Timeline: uint32(timeline), End: end}, nil
}

// ForkOf tells where timeline was left, ok if it is an ancestor in history: a position on it is in
// the history up to and including that place, and in a lost branch past it.
func ForkOf(history []Fork, timeline uint32) (end LSN, ok bool) {
	for _, fork := range history {
		if fork.Timeline == timeline {
			return fork.End, true
		}
	}
	return 0, false
}
