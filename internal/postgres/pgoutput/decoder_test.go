package pgoutput

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2024, 2, 29, 12, 0, 0, 123456000, time.UTC)

func text(s string) Datum { return Datum{Kind: 't', Data: []byte(s)} }

// samples has every message in every shape, those that differ in a stream block with xid.
func samples(xid uint32) []Message {
	null, same := Datum{Kind: 'n'}, Datum{Kind: 'u'}
	row := []Datum{text("42"), null, same, text(""), {Kind: 'b', Data: []byte{0, 1, 255}}}
	return []Message{
		&Relation{XID: xid, ID: 16384, Namespace: "public", Name: "customer", Identity: 'd', Columns: []RelationColumn{
			{Key: true, Name: "id", Type: 20, Modifier: -1}, {Name: "größe", Type: 1700, Modifier: 655366},
		}},
		&Relation{XID: xid, ID: 4294967295, Namespace: "", Name: "t", Identity: 'f', Columns: []RelationColumn{}},
		&TypeName{XID: xid, ID: 16390, Namespace: "shop", Name: "mood"},
		&Insert{XID: xid, Relation: 16384, New: row},
		&Insert{XID: xid, Relation: 16384, New: []Datum{}},
		&Update{XID: xid, Relation: 16384, New: row},
		&Update{XID: xid, Relation: 16384, OldKind: 'K', Old: []Datum{text("41"), null}, New: row},
		&Update{XID: xid, Relation: 16384, OldKind: 'O', Old: row, New: []Datum{text("43"), same}},
		&Delete{XID: xid, Relation: 16384, OldKind: 'K', Old: []Datum{text("42"), null}},
		&Delete{XID: xid, Relation: 16384, OldKind: 'O', Old: row},
		&Truncate{XID: xid, Relations: []uint32{16384, 16390}},
		&Truncate{XID: xid, Relations: []uint32{16384}, Cascade: true},
		&Truncate{XID: xid, Relations: []uint32{16384}, RestartIdentity: true},
		&Truncate{XID: xid, Relations: []uint32{1, 2, 3}, Cascade: true, RestartIdentity: true},
		&LogicalMessage{XID: xid, LSN: 0x1_0000_0028, Prefix: "waybill", Content: []byte(`[]`), Transactional: true},
		&LogicalMessage{XID: xid, LSN: 1, Prefix: "", Content: []byte{}},
		&Origin{LSN: 0xFFFF_FFFF_FFFF_FFFF, Name: "elsewhere"},
	}
}

// outside are the messages that stand outside of stream blocks only.
func outside() []Message {
	return []Message{
		&Begin{FinalLSN: 0x16_B374_D848, Time: noon, XID: 777},
		&Commit{LSN: 0x16_B374_D848, End: 0x16_B374_D878, Time: noon},
		&StreamCommit{XID: 777, LSN: 1, End: 2, Time: noon},
		&StreamAbort{XID: 777, SubXID: 777},
		&StreamAbort{XID: 777, SubXID: 778, LSN: 0x16_B374_D848, Time: noon},
		&Begin{FinalLSN: 1, Time: time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), XID: 3},
	}
}

func decodes(t testing.TB, d *Decoder, data []byte, want Message) {
	t.Helper()
	got, err := d.Decode(data)
	if err != nil {
		t.Fatalf("%T: %v", want, err)
	}
	if !equal(got, want) {
		t.Fatalf("got  %T %+v\nwant %T %+v", got, got, want, want)
	}
}

// equal is deep equality in which an empty slice is as good as none.
func equal(a, b Message) bool { return fmt.Sprintf("%T %+v", a, a) == fmt.Sprintf("%T %+v", b, b) }

func TestDecodeEveryMessage(t *testing.T) {
	var d Decoder
	for _, m := range append(samples(0), outside()...) {
		decodes(t, &d, encode(m, false), m)
	}
	start := &StreamStart{XID: 900, First: true}
	decodes(t, &d, encode(start, false), start)
	for _, m := range samples(901) {
		decodes(t, &d, encode(m, true), m)
	}
	decodes(t, &d, []byte("E"), &StreamStop{})
	again := &StreamStart{XID: 900}
	decodes(t, &d, encode(again, false), again)
	d.Reset()
	for _, m := range append(samples(0), outside()...) {
		decodes(t, &d, encode(m, false), m)
	}
}

// TestDecodeBytes is against bytes written by hand from the documentation.
func TestDecodeBytes(t *testing.T) {
	var d Decoder
	decodes(t, &d, []byte("U\x00\x00\x40\x00K\x00\x02t\x00\x00\x00\x01an"+"N\x00\x02t\x00\x00\x00\x01bu"), &Update{
		Relation: 0x4000, OldKind: 'K', Old: []Datum{text("a"), {Kind: 'n'}}, New: []Datum{text("b"), {Kind: 'u'}},
	})
	decodes(t, &d, []byte("M\x01\x00\x00\x00\x00\x01\x02\x03\x04pre\x00\x00\x00\x00\x02ab"), &LogicalMessage{
		Transactional: true, LSN: 0x01020304, Prefix: "pre", Content: []byte("ab"),
	})
	decodes(t, &d, []byte("B\x00\x00\x00\x16\xb3\x74\xd8\x48\x00\x00\x00\x00\x00\x0f\x42\x40\x00\x00\x03\x09"), &Begin{
		FinalLSN: 0x16_B374_D848, Time: time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC), XID: 777,
	})
}

func TestDecodeNullIsNotEmpty(t *testing.T) {
	var d Decoder
	m, err := d.Decode(encode(&Insert{New: []Datum{{Kind: 'n'}, text("")}}, false))
	if err != nil {
		t.Fatal(err)
	}
	if row := m.(*Insert).New; row[0].Data != nil || row[1].Data == nil {
		t.Errorf("null %#v, empty %#v", row[0], row[1])
	}
	m, err = d.Decode(encode(&Update{New: []Datum{text("x")}}, false))
	if err != nil {
		t.Fatal(err)
	}
	if m.(*Update).Old != nil {
		t.Error("an update without an old tuple has one")
	}
}

// TestDecodeCutShort cuts every message at every place, and adds a byte to it.
func TestDecodeCutShort(t *testing.T) {
	for _, inStream := range []bool{false, true} {
		all := append(samples(0), outside()...)
		if inStream {
			all = append(samples(5), &StreamStop{})
		}
		for _, m := range all {
			whole := encode(m, inStream)
			for n := range whole {
				if a, ok := m.(*StreamAbort); ok && !a.Time.IsZero() && n == 9 {
					continue // that is one of an earlier protocol
				}
				d := Decoder{inStream: inStream}
				if got, err := d.Decode(whole[:n:n]); err == nil {
					t.Errorf("%T cut to %d of %d bytes gives %+v", m, n, len(whole), got)
				}
			}
			d := Decoder{inStream: inStream}
			if got, err := d.Decode(append(whole, 0)); err == nil {
				t.Errorf("%T with a byte more gives %+v", m, got)
			}
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	start := encode(&StreamStart{XID: 1, First: true}, false)
	for _, c := range []struct {
		name   string
		before []byte
		data   string
		want   string
	}{
		{"empty", nil, "", "decode pgoutput message: it is empty"},
		{"unknown", nil, "Z123", `decode pgoutput message 'Z' of 4 bytes: its type is not known to protocol versions 1 to 4`},
		{"begin prepare", nil, "b", `Begin Prepare ('b') of 1 bytes: it belongs to two-phase commit, which was not asked for; make the replication slot without two_phase`},
		{"prepare", nil, "P", "Prepare ('P') of 1 bytes: it belongs to two-phase"},
		{"commit prepared", nil, "K", "Commit Prepared ('K')"},
		{"rollback prepared", nil, "r", "Rollback Prepared ('r')"},
		{"stream prepare", nil, "p", "Stream Prepare ('p')"},
		{"short", nil, "B1234", "Begin ('B') of 5 bytes: it ends early"},
		{"trailing", nil, "M\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00xy", "Message ('M') of 17 bytes: 2 bytes are left over at its end"},
		{"flags of commit", nil, "C\x01" + strings.Repeat("\x00", 24), "its flags 0x1 are not known"},
		{"flags of message", nil, "M\x02" + strings.Repeat("\x00", 13), "its flags 0x2 are not known"},
		{"flags of truncate", nil, "T\x00\x00\x00\x00\x04", "its flags 0x4 are not known"},
		{"datum", nil, "I\x00\x00\x00\x01N\x00\x01x", "the kind 'x' of a column's value is not known"},
		{"no new", nil, "I\x00\x00\x00\x01K\x00\x00", "'K' stands where the new tuple should"},
		{"no new after old", nil, "U\x00\x00\x00\x01K\x00\x00O\x00\x00", "'O' stands where the new tuple should"},
		{"no old", nil, "D\x00\x00\x00\x01N\x00\x00", "'N' stands where the old tuple should"},
		{"identity", nil, "R\x00\x00\x00\x01a\x00b\x00x\x00\x00", "the replica identity 'x' is not known"},
		{"huge datum", nil, "I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xffabc", "it ends early"},
		{"many datums", nil, "I\x00\x00\x00\x01N\xff\xffn", "it ends early"},
		{"many columns", nil, "R\x00\x00\x00\x01a\x00b\x00d\xff\xff", "it ends early"},
		{"many relations", nil, "T\xff\xff\xff\xff\x00\x00\x00\x00\x01", "it ends early"},
		{"huge content", nil, "M\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\xff\xff\xff\xff", "it ends early"},
		{"stop without start", nil, "E", "Stream Stop ('E') of 1 bytes: no stream block is open"},
		{"start in block", start, string(start), "Stream Start ('S') of 6 bytes: it stands in a stream block that was not closed"},
		{"begin in block", start, string(encode(outside()[0], true)), "it stands in a stream block"},
		{"abort in block", start, string(encode(outside()[3], true)), "it stands in a stream block"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			if c.before != nil {
				if _, err := d.Decode(c.before); err != nil {
					t.Fatal(err)
				}
			}
			was := d.inStream
			m, err := d.Decode([]byte(c.data))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %+v, %v\nwant %s", m, err, c.want)
			}
			if m != nil || d.inStream != was {
				t.Errorf("after an error: message %+v, in stream %v before %v", m, d.inStream, was)
			}
		})
	}
}

// TestDecodeErrorsWithoutValues: an error may be logged, a row may not.
func TestDecodeErrorsWithoutValues(t *testing.T) {
	var d Decoder
	_, err := d.Decode(append(encode(&Insert{New: []Datum{text("secret")}}, false), "secret"...))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
}

func TestDecodeRelationMayBeKept(t *testing.T) {
	var d Decoder
	first, second := samples(0)[0].(*Relation), *samples(0)[0].(*Relation)
	second.Columns = []RelationColumn{{Name: "other", Type: 1}, {Name: "another", Type: 2}}
	m, err := d.Decode(encode(first, false))
	if err != nil {
		t.Fatal(err)
	}
	kept := *m.(*Relation)
	decodes(t, &d, encode(&second, false), &second)
	if !reflect.DeepEqual(&kept, first) {
		t.Errorf("what was kept is now %+v", kept)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	var d Decoder
	var all [][]byte
	for _, m := range append(samples(0), outside()...) {
		switch m.(type) {
		case *Relation, *TypeName:
		default:
			all = append(all, encode(m, false))
		}
	}
	all = append(all, encode(&StreamStart{XID: 1}, false), []byte("E"))
	// Names are made when they change: one prefix, as a consumer sees it.
	all = slicesWithout(all, encode(samples(0)[15], false))
	n := testing.AllocsPerRun(100, func() {
		for _, data := range all {
			if _, err := d.Decode(data); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func slicesWithout(all [][]byte, one []byte) [][]byte {
	var out [][]byte
	for _, b := range all {
		if !bytes.Equal(b, one) {
			out = append(out, b)
		}
	}
	return out
}

// TestDecodeInverts: what an encoder writes is what the decoder gives, in any order the protocol has,
// with one decoder's memory for all.
func TestDecodeInverts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Decoder
		inStream := false
		for range rapid.IntRange(1, 40).Draw(t, "messages") {
			m := drawMessage(t, inStream)
			data := encode(m, inStream)
			got, err := d.Decode(data)
			if err != nil {
				t.Fatalf("%T: %v", m, err)
			}
			if !equal(got, m) {
				t.Fatalf("got  %T %+v\nwant %T %+v", got, got, m, m)
			}
			switch m.(type) {
			case *StreamStart:
				inStream = true
			case *StreamStop:
				inStream = false
			}
		}
	})
}

func drawMessage(t *rapid.T, inStream bool) Message {
	u32, xid := rapid.Uint32(), uint32(0)
	lsn := func(name string) LSN { return LSN(rapid.Uint64().Draw(t, name)) }
	name := func(label string) string { return rapid.StringMatching(`[^\x00]{0,20}`).Draw(t, label) }
	when := func() time.Time {
		return time.UnixMicro(rapid.Int64Range(-1e15, 8e15).Draw(t, "time")).UTC()
	}
	kinds := "ORYIUDTMSBCcAa"
	if inStream {
		kinds, xid = "ORYIUDTME", u32.Draw(t, "xid")
	}
	switch rapid.SampledFrom([]byte(kinds)).Draw(t, "kind") {
	case 'O':
		return &Origin{LSN: lsn("lsn"), Name: name("name")}
	case 'R':
		r := &Relation{XID: xid, ID: u32.Draw(t, "id"), Namespace: name("namespace"), Name: name("name")}
		r.Identity = rapid.SampledFrom([]byte("dnfi")).Draw(t, "identity")
		for range rapid.IntRange(0, 9).Draw(t, "columns") {
			r.Columns = append(r.Columns, RelationColumn{
				Key: rapid.Bool().Draw(t, "key"), Name: name("column"),
				Type: u32.Draw(t, "type"), Modifier: rapid.Int32().Draw(t, "modifier"),
			})
		}
		return r
	case 'Y':
		return &TypeName{XID: xid, ID: u32.Draw(t, "id"), Namespace: name("namespace"), Name: name("name")}
	case 'I':
		return &Insert{XID: xid, Relation: u32.Draw(t, "relation"), New: drawTuple(t)}
	case 'U':
		u := &Update{XID: xid, Relation: u32.Draw(t, "relation"), New: drawTuple(t)}
		if u.OldKind = rapid.SampledFrom([]byte{0, 'K', 'O'}).Draw(t, "old"); u.OldKind != 0 {
			u.Old = drawTuple(t)
		}
		return u
	case 'D':
		return &Delete{XID: xid, Relation: u32.Draw(t, "relation"), OldKind: rapid.SampledFrom([]byte("KO")).Draw(t, "old"), Old: drawTuple(t)}
	case 'T':
		return &Truncate{
			XID: xid, Relations: rapid.SliceOfN(u32, 0, 9).Draw(t, "relations"),
			Cascade: rapid.Bool().Draw(t, "cascade"), RestartIdentity: rapid.Bool().Draw(t, "restart"),
		}
	case 'M':
		return &LogicalMessage{
			XID: xid, Transactional: rapid.Bool().Draw(t, "transactional"), LSN: lsn("lsn"),
			Prefix: name("prefix"), Content: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "content"),
		}
	case 'S':
		return &StreamStart{XID: u32.Draw(t, "xid"), First: rapid.Bool().Draw(t, "first")}
	case 'E':
		return &StreamStop{}
	case 'B':
		return &Begin{FinalLSN: lsn("lsn"), Time: when(), XID: u32.Draw(t, "xid")}
	case 'C':
		return &Commit{LSN: lsn("lsn"), End: lsn("end"), Time: when()}
	case 'c':
		return &StreamCommit{XID: u32.Draw(t, "xid"), LSN: lsn("lsn"), End: lsn("end"), Time: when()}
	case 'A':
		return &StreamAbort{XID: u32.Draw(t, "xid"), SubXID: u32.Draw(t, "subxid")}
	default:
		return &StreamAbort{XID: u32.Draw(t, "xid"), SubXID: u32.Draw(t, "subxid"), LSN: lsn("lsn"), Time: when()}
	}
}

func drawTuple(t *rapid.T) []Datum {
	row := make([]Datum, rapid.IntRange(0, 12).Draw(t, "width"))
	for i := range row {
		row[i].Kind = rapid.SampledFrom([]byte("nutb")).Draw(t, "kind")
		if row[i].Kind == 't' || row[i].Kind == 'b' {
			row[i].Data = rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data")
		}
	}
	return row
}

// FuzzDecode: no bytes make the decoder panic, and what it accepts is what an encoder would write.
func FuzzDecode(f *testing.F) {
	for _, m := range append(samples(0), outside()...) {
		f.Add(encode(m, false), false)
	}
	for _, m := range append(samples(9), &StreamStop{}) {
		f.Add(encode(m, true), true)
	}
	f.Add([]byte("I\x00\x00\x00\x01N\xff\xffn"), false)
	f.Fuzz(func(t *testing.T, data []byte, inStream bool) {
		d := Decoder{inStream: inStream}
		m, err := d.Decode(data)
		if err != nil {
			return
		}
		if again := encode(m, inStream); !bytes.Equal(again, data) && !overflows(m) {
			t.Errorf("%T %+v was %x, and is encoded as %x", m, m, data, again)
		}
	})
}

// overflows tells whether the encoder cannot write m's time: it counts in a Duration.
func overflows(m Message) bool {
	var at time.Time
	switch m := m.(type) {
	case *Begin:
		at = m.Time
	case *Commit:
		at = m.Time
	case *StreamCommit:
		at = m.Time
	case *StreamAbort:
		at = m.Time
	}
	return at.Year() < 1800 || at.Year() > 2250
}

func BenchmarkDecode(b *testing.B) {
	row := make([]Datum, 12)
	for i := range row {
		row[i] = text(strings.Repeat("x", 10+i))
	}
	for _, c := range []struct {
		name string
		m    Message
	}{
		{"insert of 12 columns", &Insert{Relation: 16384, New: row}},
		{"update of 12 columns with key", &Update{Relation: 16384, OldKind: 'K', Old: row, New: row}},
		{"begin", &Begin{FinalLSN: 1, Time: noon, XID: 1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Decoder
			data := encode(c.m, false)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
