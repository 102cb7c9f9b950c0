package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	waybill "github.com/waybill-data/waybill"
)

// positionVersion is the format of positions that this version writes.
const positionVersion = 1

// point is what a position says: the end of an action in the outbox of one file.
type point struct {
	V int `json:"v"`
	// Source is "sqlite:" and the id that is kept in the file.
	Source string `json:"source"`
	// N is the number of the action's last row in waybill_outbox.
	N int64 `json:"n"`
	// Seq is the action's number in the stream, 0 before the first.
	Seq uint64 `json:"seq"`
	// Action is the action's ID, empty before the first.
	Action string `json:"action"`
}

func (p point) position() waybill.Position {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // numbers and strings cannot fail
	return waybill.Position(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// parsePosition reads a position that is not zero.
func parsePosition(p waybill.Position) (point, error) {
	var v struct {
		V      int    `json:"v"`
		Source string `json:"source"`
	}
	if err := json.Unmarshal([]byte(p), &v); err != nil {
		return point{}, fmt.Errorf("read position %q: %w", p, err)
	}
	if v.V > positionVersion {
		return point{}, fmt.Errorf("read position %q: format %d is newer than this version of waybill, which knows %d", p, v.V, positionVersion)
	}
	pt := point{V: v.V, Source: v.Source}
	if !isSQLite(v.Source) {
		return pt, nil // somebody else's: only its source is of interest
	}
	d := json.NewDecoder(bytes.NewReader([]byte(p)))
	d.DisallowUnknownFields()
	if err := d.Decode(&pt); err != nil {
		return point{}, fmt.Errorf("read position %q: %w", p, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || pt.V < 1 || pt.N < 0 {
		return point{}, fmt.Errorf("read position %q: it is malformed", p)
	}
	return pt, nil
}

const sourcePrefix = "sqlite:"

func isSQLite(source string) bool {
	return len(source) > len(sourcePrefix) && source[:len(sourcePrefix)] == sourcePrefix
}
