package event

import (
	"time"

	waybill "github.com/waybill-data/waybill"
)

// ContentType is that of a message.
const ContentType = "application/cloudevents+json"

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

var kindNames = [...]string{Action: "action", Part: "part", Position: "position", Schema: "schema"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Event is one message.
type Event struct {
	Kind Kind
	// Source is the CloudEvents source, a URI reference: who made the stream.
	Source string
	// ID is the action's ID, also on each of its parts. That of a Schema follows from what it
	// carries, and so does that of a Position where it is empty.
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
	Part    uint32 // at most 2147483647
	Last    bool

	Changes waybill.ChangeList // Action, Part
	Schema  *waybill.Schema    // Schema
}

// The names of the attributes.
const (
	attrID          = "id"
	attrSource      = "source"
	attrSpecVersion = "specversion"
	attrType        = "type"
	attrTime        = "time"
	attrContentType = "datacontenttype"
	attrSequence    = "sequence"
	attrTrace       = "traceparent"
	attrKind        = "waybillkind"
	attrName        = "waybillname"
	attrPosition    = "waybillposition"
	attrAction      = "waybillaction"
	attrAttempt     = "waybillattempt"
	attrPart        = "waybillpart"
	attrLast        = "waybilllast"
	attrData        = "data"
	attrDataBase64  = "data_base64"
)

const (
	specVersion = "1.0"
	jsonType    = "application/json"

	// ownTypes begin the CloudEvents types that are not an action's name.
	ownTypes     = "waybill."
	actionType   = "waybill.action"
	positionType = "waybill.position"
	schemaType   = "waybill.schema"

	positionID = "position/"
	schemaID   = "schema/"

	maxPart = 1<<31 - 1
)
