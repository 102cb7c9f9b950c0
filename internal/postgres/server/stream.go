package server

import (
	"strings"

	"github.com/waybill-data/waybill"
)

// Stream is the name of a stream that a source is read for: PIPELINE/TARGET.
type Stream string

// Gap says that the stream cannot go on where the target stands; the remedy may be empty.
func (s Stream) Gap(reason, remedy string) error {
	return &waybill.GapError{Stream: string(s), Reason: reason, Remedy: remedy}
}

// StartOver is the remedy where source and target have gone apart.
func (s Stream) StartOver() string {
	return "compare the two sides, then run waybill drop " + s.Pipeline() + " and start over"
}

// Pipeline is the pipeline's name, as commands take it.
func (s Stream) Pipeline() string {
	if i := strings.LastIndexByte(string(s), '/'); i >= 0 {
		return string(s[:i])
	}
	return string(s)
}
