package pgoutput

import (
	"fmt"
	"time"
)

// encode writes m as the documentation describes it, knowing nothing of the decoder. In a stream
// block messages of a transaction carry its identifier.
func encode(m Message, inStream bool) []byte {
	w := &writer{inStream: inStream}
	switch m := m.(type) {
	case *Begin:
		w.put('B').int(8, uint64(m.FinalLSN)).time(m.Time).int(4, uint64(m.XID))
	case *Commit:
		w.put('C', 0).int(8, uint64(m.LSN)).int(8, uint64(m.End)).time(m.Time)
	case *Origin:
		w.put('O').int(8, uint64(m.LSN)).text(m.Name)
	case *Relation:
		w.put('R').xid(m.XID).int(4, uint64(m.ID)).text(m.Namespace).text(m.Name).put(m.Identity)
		w.int(2, uint64(len(m.Columns)))
		for _, c := range m.Columns {
			w.flag(c.Key).text(c.Name).int(4, uint64(c.Type)).int(4, uint64(uint32(c.Modifier)))
		}
	case *TypeName:
		w.put('Y').xid(m.XID).int(4, uint64(m.ID)).text(m.Namespace).text(m.Name)
	case *Insert:
		w.put('I').xid(m.XID).int(4, uint64(m.Relation)).put('N').tuple(m.New)
	case *Update:
		w.put('U').xid(m.XID).int(4, uint64(m.Relation))
		if m.OldKind != 0 {
			w.put(m.OldKind).tuple(m.Old)
		}
		w.put('N').tuple(m.New)
	case *Delete:
		w.put('D').xid(m.XID).int(4, uint64(m.Relation)).put(m.OldKind).tuple(m.Old)
	case *Truncate:
		w.put('T').xid(m.XID).int(4, uint64(len(m.Relations)))
		w.put(map[[2]bool]byte{{true, false}: 1, {false, true}: 2, {true, true}: 3}[[2]bool{m.Cascade, m.RestartIdentity}])
		for _, r := range m.Relations {
			w.int(4, uint64(r))
		}
	case *LogicalMessage:
		w.put('M').xid(m.XID).flag(m.Transactional).int(8, uint64(m.LSN)).text(m.Prefix)
		w.int(4, uint64(len(m.Content))).put(m.Content...)
	case *StreamStart:
		w.put('S').int(4, uint64(m.XID)).flag(m.First)
	case *StreamStop:
		w.put('E')
	case *StreamCommit:
		w.put('c').int(4, uint64(m.XID)).put(0).int(8, uint64(m.LSN)).int(8, uint64(m.End)).time(m.Time)
	case *StreamAbort:
		w.put('A').int(4, uint64(m.XID)).int(4, uint64(m.SubXID))
		if !m.Time.IsZero() {
			w.int(8, uint64(m.LSN)).time(m.Time)
		}
	default:
		panic(fmt.Sprintf("%T", m))
	}
	return w.out
}

type writer struct {
	out      []byte
	inStream bool
}

func (w *writer) put(b ...byte) *writer {
	w.out = append(w.out, b...)
	return w
}

func (w *writer) int(size int, v uint64) *writer {
	for i := size - 1; i >= 0; i-- {
		w.put(byte(v >> (8 * i)))
	}
	return w
}

func (w *writer) flag(set bool) *writer {
	if set {
		return w.put(1)
	}
	return w.put(0)
}

func (w *writer) text(s string) *writer { return w.put(append([]byte(s), 0)...) }

func (w *writer) time(t time.Time) *writer {
	since := t.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	return w.int(8, uint64(since/time.Microsecond))
}

func (w *writer) xid(v uint32) *writer {
	if !w.inStream {
		return w
	}
	return w.int(4, uint64(v))
}

func (w *writer) tuple(row []Datum) *writer {
	w.int(2, uint64(len(row)))
	for _, d := range row {
		w.put(d.Kind)
		if d.Kind == 't' || d.Kind == 'b' {
			w.int(4, uint64(len(d.Data))).put(d.Data...)
		}
	}
	return w
}
