package main

import (
	"errors"

	"github.com/waybill-data/waybill/internal/config"
)

// The exit codes. Verification's 4 comes with it.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitDifference = 3
	exitSignal     = 128 // plus the signal's number
)

// usageError is a mistake on the command line or in the configuration, found without
// connecting to anything.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// differenceError says that a comparison of source and target found differences.
type differenceError struct{ err error }

func (e *differenceError) Error() string { return e.err.Error() }
func (e *differenceError) Unwrap() error { return e.err }

// exitCode is the only place where errors become exit codes.
func exitCode(err error) int {
	var (
		sig    *signalError
		usage  *usageError
		differ *differenceError
		faults config.Faults
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &sig):
		return exitSignal + int(sig.signal)
	case errors.As(err, &usage), errors.As(err, &faults):
		return exitUsage
	case errors.As(err, &differ):
		return exitDifference
	default:
		return exitFailed
	}
}
