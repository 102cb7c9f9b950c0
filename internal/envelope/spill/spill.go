// Package spill holds the changes of one large action: in memory up to a bound, past it in a
// temporary file. The file has no name any more once it is open, so that nothing is left
// of it however the process ends, and only its owner can read it.
package spill

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	waybill "github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope"
)

// DefaultBound is how many bytes of an action's changes stay in memory (their Size).
const DefaultBound = 16 << 20

var errClosed = errors.New("the action's changes were released already")

// Changes is waybill.Changes built up message by message. One goroutine uses it at a time. What
// it yields stays valid; the file is gone after Close.
type Changes struct {
	// Decoder, where set, makes what reads messages back from the file, anew for each iteration
	// and in the goroutine that iterates. Without it messages are JSON arrays of changes.
	Decoder func() func(message []byte) (waybill.ChangeList, error)

	dir    string
	bound  int
	memory waybill.ChangeList
	inMem  int // estimated bytes in memory
	count  int // changes in all
	closed bool

	file    *os.File // nil while memory is enough
	path    string   // of a file that could not be unlinked while open
	buffer  *bufio.Writer
	written int64 // bytes of file and buffer
}

// New returns an empty list that keeps up to bound bytes in memory (0: DefaultBound) and the
// rest in a file in dir (empty: the system's directory for temporary files).
func New(dir string, bound int) *Changes {
	if bound <= 0 {
		bound = DefaultBound
	}
	return &Changes{dir: dir, bound: bound}
}

// Append adds a message and what it decoded to; neither may be modified afterwards. A
// transient error says that the file could not be written; the list is of no further use then.
func (c *Changes) Append(message []byte, list waybill.ChangeList) error {
	if c.closed {
		return errClosed
	}
	size := 0
	for i := range list {
		size += list[i].Size()
	}
	if c.file == nil && c.inMem+size <= c.bound {
		c.memory = append(c.memory, list...)
		c.inMem += size
	} else if err := c.write(message); err != nil {
		return waybill.AsTransient(fmt.Errorf("spill changes of a large action to disk: %w", err))
	}
	c.count += len(list)
	return nil
}

func (c *Changes) write(message []byte) error {
	if c.file == nil {
		f, err := os.CreateTemp(c.dir, "waybill-action-*")
		if err != nil {
			return err
		}
		if os.Remove(f.Name()) != nil {
			c.path = f.Name() // a system that does not unlink open files
		}
		c.file, c.buffer = f, bufio.NewWriterSize(f, 64<<10)
	}
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(len(message)))
	if _, err := c.buffer.Write(head[:]); err != nil {
		return err
	}
	_, err := c.buffer.Write(message)
	c.written += int64(len(head) + len(message))
	return err
}

// Len is the number of changes.
func (c *Changes) Len() int { return c.count }

// InMemory estimates the memory that the list takes, in bytes.
func (c *Changes) InMemory() int { return c.inMem }

// All iterates in order, as often as wanted. It yields an error if the file cannot be read
// again, or after Close.
func (c *Changes) All() iter.Seq2[*waybill.Change, error] {
	return func(yield func(*waybill.Change, error) bool) {
		if c.closed {
			yield(nil, errClosed)
			return
		}
		for i := range c.memory {
			if !yield(&c.memory[i], nil) {
				return
			}
		}
		if c.file == nil {
			return
		}
		if err := c.spilled(func(ch *waybill.Change) bool { return yield(ch, nil) }); err != nil {
			yield(nil, waybill.AsTransient(fmt.Errorf("read spilled changes of a large action: %w", err)))
		}
	}
}

// spilled hands on the changes in the file until yield returns false.
func (c *Changes) spilled(yield func(*waybill.Change) bool) error {
	if err := c.buffer.Flush(); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(c.file, 0, c.written), 64<<10)
	decode := c.decoder()
	for seen := len(c.memory); seen < c.count; {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint64(head[:])
		if n > uint64(c.written) {
			return errors.New("the temporary file is damaged")
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return err
		}
		list, err := decode(message)
		if err != nil {
			return err
		}
		for i := range list {
			if !yield(&list[i]) {
				return nil
			}
		}
		seen += len(list)
	}
	return nil
}

func (c *Changes) decoder() func([]byte) (waybill.ChangeList, error) {
	if c.Decoder != nil {
		return c.Decoder()
	}
	return new(envelope.Decoder).Decode
}

// Close frees memory and file. It may be called twice.
func (c *Changes) Close() error {
	c.closed, c.memory, c.buffer = true, nil, nil
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	if c.path != "" {
		err = errors.Join(err, os.Remove(c.path))
	}
	c.file, c.path = nil, ""
	return err
}
