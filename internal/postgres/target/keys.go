package target

import (
	"bytes"
	"hash/maphash"
)

// place is a slot in a group.
type place struct {
	group int
	slot  int
}

// keyIndex finds places by the bytes of keys. It is a hash table with open addressing whose memory
// serves plan after plan.
type keyIndex struct {
	seed    maphash.Seed
	slots   []uint32 // 1 + the index of an entry; 0 is free. Their number is a power of two.
	entries []keyEntry
	keys    []byte // of all entries, one after another
}

type keyEntry struct {
	hash       uint64
	start, end int // in keys
	place      place
}

// maxSlots is up to how many slots are kept for the next plan.
const maxSlots = 4 * planChanges

func newKeyIndex() keyIndex {
	return keyIndex{seed: maphash.MakeSeed(), slots: make([]uint32, 64)}
}

// find returns where the place of a key is kept, until the next call, and whether the key was there.
func (x *keyIndex) find(key []byte) (at *place, seen bool) {
	if 2*len(x.entries) >= len(x.slots) {
		x.grow()
	}
	hash := maphash.Bytes(x.seed, key)
	mask := uint64(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		n := x.slots[i]
		if n == 0 {
			start := len(x.keys)
			x.keys = append(x.keys, key...)
			x.entries = append(x.entries, keyEntry{hash: hash, start: start, end: len(x.keys)})
			x.slots[i] = uint32(len(x.entries)) // far fewer than 32 bits hold: see planChanges
			return &x.entries[len(x.entries)-1].place, false
		}
		if e := &x.entries[n-1]; e.hash == hash && bytes.Equal(x.keys[e.start:e.end], key) {
			return &e.place, true
		}
	}
}

func (x *keyIndex) grow() {
	x.slots = make([]uint32, 2*len(x.slots))
	mask := uint64(len(x.slots) - 1)
	for n := range x.entries {
		i := x.entries[n].hash & mask
		for x.slots[i] != 0 {
			i = (i + 1) & mask
		}
		x.slots[i] = uint32(n + 1)
	}
}

func (x *keyIndex) clear() {
	if len(x.slots) > maxSlots || cap(x.keys) > planBytes {
		*x = newKeyIndex()
		return
	}
	clear(x.slots)
	x.entries, x.keys = x.entries[:0], x.keys[:0]
}
