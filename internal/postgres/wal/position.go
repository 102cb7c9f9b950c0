package wal

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
)

// position is where a stream stands in a source's log.
type position struct {
	source   string // postgres:SYSTEM/DATABASE
	timeline uint32
	// lsn is the end of what is done: everything that committed before it was handed on.
	lsn pgoutput.LSN
	// seq, id, xid and commit are of the last action; zero before the first.
	seq    uint64
	id     string
	xid    uint32
	commit pgoutput.LSN
}

type positionJSON struct {
	V        int    `json:"v"`
	Kind     string `json:"kind"`
	Source   string `json:"source"`
	Timeline uint32 `json:"timeline"`
	LSN      string `json:"lsn"`
	Seq      uint64 `json:"seq"`
	ID       string `json:"id,omitempty"`
	XID      uint32 `json:"xid,omitempty"`
	Commit   string `json:"commit,omitempty"`
}

func (p position) encode() waybill.Position {
	j := positionJSON{V: 1, Kind: "wal", Source: p.source, Timeline: p.timeline, LSN: p.lsn.String(), Seq: p.seq, ID: p.id, XID: p.xid}
	if p.commit != 0 {
		j.Commit = p.commit.String()
	}
	text, err := json.Marshal(j)
	if err != nil { // cannot be: numbers and strings
		return ""
	}
	return waybill.Position(text)
}

// decodePosition reads a position; the zero Position is the zero position.
func decodePosition(s waybill.Position) (position, error) {
	if s == "" {
		return position{}, nil
	}
	var j positionJSON
	d := json.NewDecoder(strings.NewReader(string(s)))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil || d.More() || j.Kind != "wal" {
		return position{}, errors.New("the position is not one of a PostgreSQL log")
	}
	if j.V != 1 {
		return position{}, errors.New("the position is of a later version of waybill")
	}
	p := position{source: j.Source, timeline: j.Timeline, seq: j.Seq, id: j.ID, xid: j.XID}
	var err error
	if p.lsn, err = pgoutput.ParseLSN(j.LSN); err != nil {
		return position{}, err
	}
	if j.Commit != "" {
		if p.commit, err = pgoutput.ParseLSN(j.Commit); err != nil {
			return position{}, err
		}
	}
	switch {
	case !strings.HasPrefix(p.source, "postgres:") || p.timeline == 0 || p.lsn == 0:
		return position{}, errors.New("the position names no place in a PostgreSQL log")
	case (p.seq == 0) != (p.id == "") || (p.seq == 0) != (p.commit == 0) || p.commit > p.lsn:
		return position{}, errors.New("the position contradicts itself")
	}
	return p, nil
}
