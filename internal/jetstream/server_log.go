package jetstream

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// serverLog passes the server's log on: its notices are details here, and a warning that repeats
// within a minute is said once.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string               // why it could not start
	wound bool                 // a store cannot write any more
	said  map[string]time.Time // by format: its arguments vary
}

const (
	sayAgain   = time.Minute
	saidAtMost = 256 // formats remembered; the server has fewer
)

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{log: log, said: map[string]time.Time{}}
}

// fresh reports whether format was not said within the last minute.
func (l *serverLog) fresh(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.said[format]; ok && now.Sub(at) < sayAgain {
		return false
	}
	if len(l.said) >= saidAtMost {
		clear(l.said)
	}
	l.said[format] = now
	return true
}

func (l *serverLog) emit(level slog.Level, format string, args []any) {
	l.log.Log(context.Background(), level, "embedded NATS server", "says", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *serverLog) Noticef(format string, args ...any) { l.emit(slog.LevelDebug, format, args) }
func (l *serverLog) Debugf(string, ...any)              {}
func (l *serverLog) Tracef(string, ...any)              {}

func (l *serverLog) Warnf(format string, args ...any) {
	level := slog.LevelWarn
	switch {
	case strings.Contains(format, "will rebuild"):
		level = slog.LevelInfo // the normal start after a kill: it reads the store through
	case strings.Contains(format, "state from index errored"), strings.Contains(format, "Maximum payloads over"):
		level = slog.LevelDebug // the same, before; and what the options ask for
	}
	if l.fresh(format) {
		l.emit(level, format, args)
	}
}

func (l *serverLog) Errorf(format string, args ...any) {
	if strings.Contains(strings.ToLower(format), "critical write error") {
		l.mu.Lock()
		l.wound = true
		l.mu.Unlock()
	}
	if l.fresh(format) {
		l.emit(slog.LevelError, format, args)
	}
}

// Fatalf keeps the reason for Start, which returns it; the server itself would end the process.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = fmt.Sprintf(format, args...)
	}
}

// wounded reports whether the server said that a store of it cannot write any more. Clients are
// told nothing of that where the commit of a batch failed.
func (l *serverLog) wounded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wound
}

// reason is what Fatalf was told.
func (l *serverLog) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
