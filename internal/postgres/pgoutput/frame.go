package pgoutput

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kinds of frames.
const (
	FrameData      = 'w' // XLogData: a message of the plug-in
	FrameKeepalive = 'k' // a sign of life
)

// Frame is what one CopyData message of a replication stream carries.
type Frame struct {
	Kind  byte // FrameData or FrameKeepalive
	Start LSN  // FrameData: where the message lies in the log; 0 for some
	// End is how far the server has read its log as it sends (keepalive), or, of a logical stream's
	// FrameData, the same as Start. It is nothing to acknowledge: a transaction may be on its way.
	End   LSN
	Time  time.Time // the server's clock as it sends
	Reply bool      // FrameKeepalive: the server wants a status at once, or it ends the connection
	Data  []byte    // FrameData: for Decoder.Decode; aliases what was parsed
}

// ParseFrame reads the payload of a CopyData message.
func ParseFrame(payload []byte) (Frame, error) {
	if len(payload) == 0 {
		return Frame{}, fmt.Errorf("read replication frame: %w", errEmpty)
	}
	c := cursor{rest: payload[1:]}
	f := Frame{Kind: payload[0]}
	switch f.Kind {
	case FrameData:
		f.Start, f.End, f.Time = c.lsn(), c.lsn(), c.time()
		f.Data = c.bytes(uint32(len(c.rest)))
	case FrameKeepalive:
		f.End, f.Time, f.Reply = c.lsn(), c.time(), c.flags(1) == 1
	default:
		c.fail(errors.New("its type is not known"))
	}
	if err := c.end(); err != nil {
		return Frame{}, fmt.Errorf("read replication frame %q of %d bytes: %w", f.Kind, len(payload), err)
	}
	return f, nil
}

// AppendStatus appends a standby status update, the payload of a CopyData message to the server:
// what has been received (written), what will never be asked for again (flushed: from here on the
// slot keeps the log), and what is visible at the target (applied). reply asks the server for a
// keepalive at once.
func AppendStatus(dst []byte, written, flushed, applied LSN, now time.Time, reply bool) []byte {
	dst = append(dst, 'r')
	dst = binary.BigEndian.AppendUint64(dst, uint64(written))
	dst = binary.BigEndian.AppendUint64(dst, uint64(flushed))
	dst = binary.BigEndian.AppendUint64(dst, uint64(applied))
	dst = binary.BigEndian.AppendUint64(dst, uint64(now.UnixMicro()-epoch))
	if reply {
		return append(dst, 1)
	}
	return append(dst, 0)
}
