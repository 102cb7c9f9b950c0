package wal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
)

// memoryBound is how many bytes of a transaction's changes stay in memory; the rest is spilled.
const memoryBound = 8 << 20

// spool is the part of a transaction that does not fit in memory: a file without a name, so that
// nothing is left of it, which is closed when nobody refers to it any more. A record is the
// relation's place in relations, the (sub)transaction, the operation and the tuples.
type spool struct {
	file      *os.File
	path      string // where the system does not unlink open files
	w         *bufio.Writer
	record    []byte
	relations []*relation
	places    map[*relation]uint32
	bytes     int64
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "waybill-wal-*")
	if err != nil {
		return nil, err
	}
	s := &spool{file: f, w: bufio.NewWriterSize(f, 64<<10), places: map[*relation]uint32{}}
	if os.Remove(f.Name()) != nil {
		s.path = f.Name()
	}
	return s, nil
}

func (s *spool) add(r *relation, xid uint32, op waybill.Op, oldKind byte, old, fresh []pgoutput.Datum) error {
	place, ok := s.places[r]
	if !ok {
		place = uint32(len(s.relations))
		s.places[r] = place
		s.relations = append(s.relations, r)
	}
	b := s.record[:0]
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, place)
	b = binary.BigEndian.AppendUint32(b, xid)
	b = append(b, byte(op), oldKind)
	b = appendTuple(b, old)
	b = appendTuple(b, fresh)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	s.record = b
	s.bytes += int64(len(b))
	_, err := s.w.Write(b)
	return err
}

func appendTuple(b []byte, tuple []pgoutput.Datum) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(tuple)))
	for _, d := range tuple {
		b = append(b, d.Kind)
		if d.Kind == 't' || d.Kind == 'b' {
			b = binary.BigEndian.AppendUint32(b, uint32(len(d.Data)))
			b = append(b, d.Data...)
		}
	}
	return b
}

var errSpool = errors.New("the file of a spilled transaction is damaged")

// readTuple reads what appendTuple wrote; the data alias b. A tuple of no columns is nil.
func readTuple(b []byte, into []pgoutput.Datum) (tuple []pgoutput.Datum, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errSpool
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n == 0 {
		return nil, b, nil
	}
	into = into[:0]
	for range n {
		if len(b) < 1 {
			return nil, nil, errSpool
		}
		d := pgoutput.Datum{Kind: b[0]}
		b = b[1:]
		if d.Kind == 't' || d.Kind == 'b' {
			if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
				return nil, nil, errSpool
			}
			size := int(binary.BigEndian.Uint32(b))
			d.Data, b = b[4:4+size], b[4+size:]
		}
		into = append(into, d)
	}
	return into, b, nil
}

// spilled are the changes of a transaction: those in memory, then those of the spool without
// what aborted subtransactions did.
type spilled struct {
	memory  waybill.ChangeList
	spool   *spool
	aborted map[uint32]struct{}
	count   int
}

// Len is the number of changes.
func (s *spilled) Len() int { return s.count }

// All iterates in order. What it yields stays valid.
func (s *spilled) All() iter.Seq2[*waybill.Change, error] {
	return func(yield func(*waybill.Change, error) bool) {
		for i := range s.memory {
			if !yield(&s.memory[i], nil) {
				return
			}
		}
		if err := s.read(yield); err != nil {
			yield(nil, waybill.AsTransient(fmt.Errorf("read a spilled transaction back: %w", err)))
		}
	}
}

func (s *spilled) read(yield func(*waybill.Change, error) bool) error {
	r := bufio.NewReaderSize(io.NewSectionReader(s.spool.file, 0, s.spool.bytes), 256<<10)
	var (
		a          arena
		buffer     []byte
		old, fresh []pgoutput.Datum
		changes    []waybill.Change
	)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if cap(buffer) < n {
			buffer = make([]byte, n)
		}
		buffer = buffer[:n]
		if _, err := io.ReadFull(r, buffer); err != nil || n < 10 {
			return errors.Join(errSpool, err)
		}
		if _, gone := s.aborted[binary.BigEndian.Uint32(buffer[4:])]; gone {
			continue
		}
		place := binary.BigEndian.Uint32(buffer)
		o, rest, err := readTuple(buffer[10:], old)
		if err != nil || place >= uint32(len(s.spool.relations)) {
			return errSpool
		}
		f, _, err := readTuple(rest, fresh)
		if err != nil {
			return err
		}
		c, err := s.spool.relations[place].change(&a, waybill.Op(buffer[8]), buffer[9], o, f)
		if err != nil {
			return err
		}
		if o != nil {
			old = o
		}
		if f != nil {
			fresh = f
		}
		if len(changes) == cap(changes) {
			changes = make([]waybill.Change, 0, 256)
		}
		changes = append(changes, c)
		if !yield(&changes[len(changes)-1], nil) {
			return nil
		}
	}
}
