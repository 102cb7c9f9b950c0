package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/waybill-data/waybill"
)

// positionVersion is the format that this version writes and reads.
const positionVersion = 1

// point is a reader's position, taken apart: the message that ended the last action handed on,
// or one after it without an action.
type point struct {
	V     int    `json:"v"`
	Queue string `json:"queue"` // the stream's identity
	// Subject is the last token of the subject.
	Subject string `json:"subject"`
	N       uint64 `json:"n"`   // of the message in the JetStream stream
	Seq     uint64 `json:"seq"` // of the last action handed on, dense for this consumer
	// Number is the writer's own of that action (CloudEvents sequence); 0: it has none.
	Number uint64 `json:"number,omitempty"`
	ID     string `json:"id"` // of the event in the message
}

func (p point) position() waybill.Position {
	text, err := json.Marshal(p)
	if err != nil { // cannot be: strings and numbers
		panic(err)
	}
	return waybill.Position(text)
}

// parsePosition takes a position apart that is not the zero one.
func parsePosition(p waybill.Position) (point, error) {
	var pt point
	d := json.NewDecoder(bytes.NewReader([]byte(p)))
	d.DisallowUnknownFields()
	if err := d.Decode(&pt); err != nil {
		return pt, errors.New("the position is not one of a queue")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return pt, errors.New("the position is not one of a queue")
	}
	if pt.V != positionVersion {
		return pt, fmt.Errorf("the position has format %d, this version reads format %d", pt.V, positionVersion)
	}
	if pt.Queue == "" || pt.Subject == "" || pt.N == 0 {
		return pt, errors.New("the position names no message of a queue")
	}
	return pt, nil
}
