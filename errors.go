package waybill

import (
	"errors"
	"fmt"
)

var (
	// ErrGap: actions are missing, or the source or target is not the one it was.
	ErrGap = errors.New("gap")
	// ErrHeld: another worker holds the stream and its lease is alive.
	ErrHeld = errors.New("stream is held by another engine")
	// ErrFenced: another worker took the stream; what this one tried had no effect.
	ErrFenced = errors.New("another engine took the stream over")
	// ErrFull: there is no room for it now; nothing was changed and nothing dropped, and who
	// writes is held back until there is. It may take hours. AsFull makes one.
	ErrFull = errors.New("no room")
	// ErrNullDocument: a value is the JSON document null, which the literal cannot tell from the SQL null.
	ErrNullDocument = errors.New("the JSON document null cannot be told from SQL NULL here")
)

// GapError tells what is missing. errors.Is(err, ErrGap) holds.
type GapError struct {
	Stream string
	// Reason is what was found, a clause; Remedy what to do, a clause or empty.
	Reason, Remedy string
}

func (e *GapError) Error() string {
	s := fmt.Sprintf("gap in stream %s: %s", e.Stream, e.Reason)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is makes errors.Is(err, ErrGap) true.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// Refusal says that an action can never be taken as it is: by the target (a constraint, a
// value out of range), or by the reader (a malformed outbox row).
type Refusal struct {
	// Action is the action's ID and Seq its number (0 where it has none yet).
	Action string
	Seq    uint64
	// Entity and Key name the change; empty where it is the action as a whole.
	Entity, Key string
	// Reason is what was refused and why; Remedy what to do. Neither holds values other
	// than the key's.
	Reason, Remedy string
}

func (e *Refusal) Error() string {
	s := "action " + e.Action
	if e.Entity != "" {
		s += fmt.Sprintf(" refused at %s %s", e.Entity, e.Key)
	} else {
		s += " refused"
	}
	s += ": " + e.Reason
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

type transientError struct{ err error }

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

// AsTransient marks err as one that may pass by itself: a host that does not answer, a
// deadlock, a full disk. It returns nil for nil.
func AsTransient(err error) error {
	if err == nil {
		return nil
	}
	return &transientError{err}
}

// Transient reports whether trying again later may help.
func Transient(err error) bool {
	var t *transientError
	return errors.As(err, &t)
}

type fullError struct{ err error }

func (e *fullError) Error() string        { return e.err.Error() }
func (e *fullError) Unwrap() error        { return e.err }
func (e *fullError) Is(target error) bool { return target == ErrFull }

// AsFull marks err as a want of room: it is transient, and errors.Is(err, ErrFull) holds. It
// returns nil for nil.
func AsFull(err error) error {
	if err == nil {
		return nil
	}
	return AsTransient(&fullError{err})
}
