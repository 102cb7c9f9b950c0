// Package event is the message format: CloudEvents 1.0 in structured JSON, one event an action.
package event

import (
	"errors"
	"time"

	"github.com/waybill-data/waybill"
)

// Kind is what an event is for.
type Kind uint8

// The kinds.
const (
	// Action is one whole business action.
	Action Kind = iota
	// Part is a numbered part of an action that is too large for one message.
	Part
	// Position only moves the position.
	Position
	// Schema describes an entity; it comes before what uses it.
	Schema
)

// Event is one message.
type Event struct {
	Kind Kind
	// Source is the CloudEvents source, a URI reference: who made the stream.
	Source string
	// ID is the action's ID (also on each of its parts).
	ID string
	// Seq is the action's number in the queue's stream; of a Position event that of the last
	// action before it. 0: not numbered (written by somebody else).
	Seq   uint64
	Name  string    // of the action
	Time  time.Time // UTC
	Trace string    // W3C traceparent
	// Position is the writer's own, as of after this event (of a part that is not the last: as
	// of before its action). Empty where the event is not the last of what was written at once.
	Position waybill.Position
	// Attempt, Part and Last number the parts of an action: 1, 2, 3 … within one attempt.
	Attempt string
	Part    uint32
	Last    bool

	Changes waybill.ChangeList // Action, Part
	Schema  *waybill.Schema    // Schema
}

// Encoder and Decoder: see the package documentation.
var errTODO = errors.New("not built yet")
