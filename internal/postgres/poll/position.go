package poll

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-data/waybill"
)

// positionVersion is the version of the position's format.
const positionVersion = 1

// snapshot is a pg_snapshot: the transactions whose effects are visible in it are those
// below xmax that are not in xip. The zero snapshot sees nothing.
type snapshot struct {
	xmax uint64
	xip  []uint64 // ascending, all below xmax
}

// parseSnapshot reads the text form xmin:xmax:xip,xip,…
func parseSnapshot(s string) (snapshot, error) {
	f := strings.Split(s, ":")
	if len(f) != 3 {
		return snapshot{}, fmt.Errorf("snapshot %.40q is not xmin:xmax:xip", s)
	}
	xmin, err := strconv.ParseUint(f[0], 10, 64)
	if err != nil {
		return snapshot{}, fmt.Errorf("snapshot %.40q: %w", s, err)
	}
	var out snapshot
	if out.xmax, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return snapshot{}, fmt.Errorf("snapshot %.40q: %w", s, err)
	}
	for x := range strings.SplitSeq(f[2], ",") {
		if x == "" && f[2] == "" {
			break
		}
		id, err := strconv.ParseUint(x, 10, 64)
		if err != nil {
			return snapshot{}, fmt.Errorf("snapshot %.40q: %w", s, err)
		}
		if id < xmin || id >= out.xmax || (len(out.xip) > 0 && id <= out.xip[len(out.xip)-1]) {
			return snapshot{}, fmt.Errorf("snapshot %.40q: transaction %d out of place", s, id)
		}
		out.xip = append(out.xip, id)
	}
	if xmin == 0 || xmin > out.xmax {
		return snapshot{}, fmt.Errorf("snapshot %.40q: xmin out of range", s)
	}
	return out, nil
}

// String is the text form; the zero snapshot is 1:1:.
func (s snapshot) String() string {
	xmax := max(s.xmax, 1)
	xmin := xmax
	if len(s.xip) > 0 {
		xmin = s.xip[0]
	}
	return fmt.Sprintf("%d:%d:%s", xmin, xmax, joinIDs(s.xip, ""))
}

// array is the running transactions as an SQL array.
func (s snapshot) array() string { return joinIDs(s.xip, "{") }

func joinIDs(ids []uint64, open string) string {
	b := []byte(open)
	for i, x := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, x, 10)
	}
	if open != "" {
		b = append(b, '}')
	}
	return string(b)
}

// sees reports whether transaction x is visible.
func (s snapshot) sees(x uint64) bool {
	if x >= s.xmax {
		return false
	}
	_, running := slices.BinarySearch(s.xip, x)
	return !running
}

// covers reports whether everything visible in o is visible in s.
func (s snapshot) covers(o snapshot) bool {
	if s.xmax < o.xmax {
		return false
	}
	return !slices.ContainsFunc(s.xip, o.sees)
}

// upTo is the least snapshot that sees the same transactions up to and including last,
// which has to be one that is durable.
//
// Positions hold such snapshots, not those the server took: after a crash the server may hand
// out numbers again that nothing on disk mentions, though an earlier snapshot counted them as
// finished. A number at or below one that is on disk is never handed out again.
func (s snapshot) upTo(last uint64) snapshot {
	out := snapshot{xmax: min(last+1, s.xmax)}
	for _, x := range s.xip {
		if x <= last {
			out.xip = append(out.xip, x)
		}
	}
	return out
}

// position is where a stream stands: everything visible in from was handed on, and of what
// is visible in to besides, the transactions up to and including ord. At the end of a
// window from and to are the same and ord is 0.
type position struct {
	source   string // postgres:SYSTEM/DATABASE
	timeline uint32
	from, to snapshot
	ord      int64
	seq      uint64
	// id and xid are the last action's; empty and 0 where there was none yet.
	id  string
	xid uint64
}

// positionJSON is the persisted form; testdata/position.golden holds examples.
type positionJSON struct {
	V        int    `json:"v"`
	Source   string `json:"source"`
	Timeline uint32 `json:"timeline"`
	From     string `json:"from"`
	To       string `json:"to,omitempty"`
	Ord      int64  `json:"ord,omitempty"`
	Seq      uint64 `json:"seq"`
	ID       string `json:"id,omitempty"`
	XID      uint64 `json:"xid,omitempty"`
}

func (p position) atEnd() bool { return p.ord == 0 }

// encode is the Position as it is stored. It holds no row values.
func (p position) encode() waybill.Position {
	j := positionJSON{
		V: positionVersion, Source: p.source, Timeline: p.timeline, From: p.from.String(),
		Seq: p.seq, ID: p.id, XID: p.xid,
	}
	if !p.atEnd() {
		j.To, j.Ord = p.to.String(), p.ord
	}
	b, err := json.Marshal(j)
	if err != nil {
		panic(err) // numbers and plain strings only
	}
	return waybill.Position(b)
}

// decodePosition reads what encode wrote; the zero Position sees nothing.
func decodePosition(s waybill.Position) (position, error) {
	if s == "" {
		return position{from: snapshot{xmax: 1}, to: snapshot{xmax: 1}}, nil
	}
	var v struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return position{}, errors.New("the position is not one of a PostgreSQL outbox")
	}
	if v.V != positionVersion {
		return position{}, fmt.Errorf("the position has format %d, this version reads format %d", v.V, positionVersion)
	}
	var j positionJSON
	d := json.NewDecoder(strings.NewReader(string(s)))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil || d.More() {
		return position{}, errors.New("the position is not one of a PostgreSQL outbox")
	}
	p := position{source: j.Source, timeline: j.Timeline, ord: j.Ord, seq: j.Seq, id: j.ID, xid: j.XID}
	var err error
	if p.from, err = parseSnapshot(j.From); err != nil {
		return position{}, err
	}
	p.to = p.from
	if j.Ord != 0 {
		if p.to, err = parseSnapshot(j.To); err != nil {
			return position{}, err
		}
	}
	switch {
	case !strings.HasPrefix(p.source, "postgres:") || p.timeline == 0:
		return position{}, errors.New("the position names no PostgreSQL source")
	case p.ord < 0 || !p.to.covers(p.from) || (j.Ord == 0) != (j.To == ""):
		return position{}, errors.New("the position contradicts itself")
	case (p.seq == 0) != (p.id == "") || (p.seq == 0) != (p.xid == 0) || p.xid >= max(p.to.xmax, 1):
		return position{}, errors.New("the position contradicts itself")
	}
	return p, nil
}

// reached reports whether everything visible in head was handed on at p.
func (p position) reached(head snapshot) bool {
	return p.from.covers(head) || p.atEnd() && p.to.covers(head)
}
