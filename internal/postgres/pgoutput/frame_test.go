package pgoutput

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseFrame(t *testing.T) {
	w := &writer{}
	w.put('w').int(8, 0x16_0000_0001).int(8, 0x16_0000_0002).time(noon).put([]byte("Ixyz")...)
	got, err := ParseFrame(w.out)
	want := Frame{Kind: FrameData, Start: 0x16_0000_0001, End: 0x16_0000_0002, Time: noon, Data: []byte("Ixyz")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for n := range 25 {
		if f, err := ParseFrame(w.out[:n]); err == nil {
			t.Errorf("cut to %d bytes: %+v", n, f)
		}
	}
	for _, reply := range []bool{false, true} {
		k := &writer{}
		k.put('k').int(8, 77).time(noon).flag(reply)
		got, err := ParseFrame(k.out)
		if want := (Frame{Kind: FrameKeepalive, End: 77, Time: noon, Reply: reply}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		for n := range k.out {
			if f, err := ParseFrame(k.out[:n]); err == nil {
				t.Errorf("cut to %d bytes: %+v", n, f)
			}
		}
		if f, err := ParseFrame(append(k.out, 0)); err == nil {
			t.Errorf("with a byte more: %+v", f)
		}
	}
	if _, err := ParseFrame([]byte("x")); err == nil || !strings.Contains(err.Error(), `frame 'x' of 1 bytes: its type is not known`) {
		t.Errorf("the error is %v", err)
	}
}

func TestParseFrameAllocatesNothing(t *testing.T) {
	w := &writer{}
	data := w.put('w').int(8, 1).int(8, 1).time(noon).put([]byte("Ixyz")...).out
	status := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseFrame(data); err != nil {
			t.Fatal(err)
		}
		status = AppendStatus(status[:0], 1, 2, 3, noon, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAppendStatus(t *testing.T) {
	for _, reply := range []bool{false, true} {
		w := &writer{}
		w.put('r').int(8, 3).int(8, 2).int(8, 1).time(noon).flag(reply)
		got := AppendStatus([]byte("before"), 3, 2, 1, noon.In(time.FixedZone("", 3600)), reply)
		if want := append([]byte("before"), w.out...); !bytes.Equal(got, want) {
			t.Errorf("got  %x\nwant %x", got, want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add((&writer{}).put('w').int(8, 1).int(8, 1).time(noon).put([]byte("Ixyz")...).out)
	f.Add((&writer{}).put('k').int(8, 1).time(noon).put(1).out)
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := ParseFrame(data)
		if err == nil && len(frame.Data) > 0 && !bytes.HasSuffix(data, frame.Data) {
			t.Errorf("%x gives %+v", data, frame)
		}
	})
}
