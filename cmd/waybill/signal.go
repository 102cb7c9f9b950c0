package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// signalError says that a signal ended the command, after it stopped cleanly.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string {
	switch e.signal {
	case syscall.SIGINT:
		return "stopped by SIGINT"
	case syscall.SIGHUP:
		return "stopped by SIGHUP"
	}
	return "stopped by SIGTERM"
}

// untilSignal returns a context that the first SIGINT, SIGTERM or SIGHUP ends. The second one
// meets the default action: it kills the process at once. Who runs the command under nohup
// wants SIGHUP ignored, and it stays so.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	signal.Notify(signals, ends...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			signal.Stop(signals)
			sig, _ := s.(syscall.Signal)
			cancel(&signalError{sig})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
		<-done
	}
}

// endedBy is the signal that ended ctx, or nil.
func endedBy(ctx context.Context) error {
	if sig, ok := errors.AsType[*signalError](context.Cause(ctx)); ok {
		return sig
	}
	return nil
}
