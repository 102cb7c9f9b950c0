package pgoutput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// epoch is 2000-01-01 00:00 UTC, from which PostgreSQL counts, in microseconds of Unix time.
const epoch = 946_684_800_000_000

var (
	errShort = errors.New("it ends early")
	errEmpty = errors.New("it is empty")
)

// cursor reads a message from the front. The first failure is kept; from then on everything that is
// read is zero and nothing is left.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = nil
}

// bytes takes n bytes. n is what a message claims.
func (c *cursor) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(c.rest)) {
		c.fail(errShort)
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) u8() byte {
	if len(c.rest) < 1 {
		c.fail(errShort)
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

func (c *cursor) u16() uint16 {
	if len(c.rest) < 2 {
		c.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(c.rest)
	c.rest = c.rest[2:]
	return v
}

func (c *cursor) u32() uint32 {
	if len(c.rest) < 4 {
		c.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(c.rest)
	c.rest = c.rest[4:]
	return v
}

func (c *cursor) u64() uint64 {
	if len(c.rest) < 8 {
		c.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return v
}

func (c *cursor) lsn() LSN { return LSN(c.u64()) }

func (c *cursor) time() time.Time { return time.UnixMicro(int64(c.u64()) + epoch).UTC() }

// str takes a string that ends with a zero byte. before is returned again if it is the same one.
func (c *cursor) str(before string) string {
	end := bytes.IndexByte(c.rest, 0)
	if end < 0 {
		c.fail(errShort)
		return ""
	}
	b := c.rest[:end]
	c.rest = c.rest[end+1:]
	if string(b) == before {
		return before
	}
	return string(b)
}

// flags takes a byte in which only the bits of known may be set.
func (c *cursor) flags(known byte) byte {
	f := c.u8()
	if f&^known != 0 {
		c.fail(fmt.Errorf("its flags %#x are not known", f))
	}
	return f
}

// end is the outcome: the first failure, or bytes that are left over.
func (c *cursor) end() error {
	if c.err == nil && len(c.rest) > 0 {
		return fmt.Errorf("%d bytes are left over at its end", len(c.rest))
	}
	return c.err
}
