package envelope

import waybill "github.com/waybill-data/waybill"

const (
	// nameSlots is how many names a Decoder remembers; of two that fall into the same slot it
	// remembers the one it saw last.
	nameSlots = 512
	// maxNameBytes bounds the names that are worth remembering.
	maxNameBytes = 128
	// Rows and lists of changes are cut from chunks of at least this many columns and
	// changes. A chunk lives as long as any change that was cut from it.
	chunkColumns = 256
	chunkChanges = 32
)

// intern returns b as a string, the same one for a name that it saw before, and its hash.
func (d *Decoder) intern(b []byte) (string, uint32) {
	h := uint32(len(b))
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	h ^= h >> 15
	if len(b) > maxNameBytes {
		return string(b), h
	}
	slot := &d.names[h%nameSlots]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot, h
}

// keepRow copies the scratch columns into a row of their own.
func (d *Decoder) keepRow(cols []waybill.Column) waybill.Row {
	n := len(cols)
	if n > cap(d.columns)-len(d.columns) {
		d.columns = make([]waybill.Column, 0, max(n, d.chunk(chunkColumns)))
	}
	start := len(d.columns)
	d.columns = append(d.columns, cols...)
	return waybill.Row(d.columns[start : start+n : start+n])
}

func (d *Decoder) keepChanges(list []waybill.Change) waybill.ChangeList {
	n := len(list)
	if n > cap(d.changes)-len(d.changes) {
		d.changes = make([]waybill.Change, 0, max(n, d.chunk(chunkChanges)))
	}
	start := len(d.changes)
	d.changes = append(d.changes, list...)
	return waybill.ChangeList(d.changes[start : start+n : start+n])
}

// chunk is small for a Decoder that is used once.
func (d *Decoder) chunk(full int) int {
	if d.reused {
		return full
	}
	return full / 16
}
