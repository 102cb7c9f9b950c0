package spill

import waybill "github.com/waybill-data/waybill"

// Builder collects the messages of one action after another. The zero value is ready. Most
// actions are one message, whose list is then handed on as it is.
type Builder struct {
	// Decoder is that of Changes.
	Decoder func() func(message []byte) (waybill.ChangeList, error)

	message []byte
	list    waybill.ChangeList
	more    *Changes // once there is a second message
	size    int      // estimated bytes in memory
	bound   int      // DefaultBound if 0
}

// Add appends a message and what it decoded to; neither may be modified afterwards. Its error
// is that of Changes.Append; what was collected is of no further use then.
func (b *Builder) Add(message []byte, list waybill.ChangeList) error {
	if b.list == nil {
		b.message, b.list = message, list
		for i := range list {
			b.size += list[i].Size()
		}
		return nil
	}
	if b.more == nil {
		b.more = New("", b.bound)
		b.more.Decoder = b.Decoder
		if err := b.more.Append(b.message, b.list); err != nil {
			return err
		}
	}
	err := b.more.Append(message, list)
	b.size = b.more.InMemory()
	return err
}

// Take returns what was collected and the memory it takes, in bytes, and begins anew. A file
// behind it is released when the changes are no longer referred to.
func (b *Builder) Take() (changes waybill.Changes, size int) {
	switch {
	case b.more == nil:
		if b.list == nil {
			b.list = waybill.ChangeList{}
		}
		changes = b.list
	case b.more.file == nil:
		changes = b.more.memory
	default:
		changes = b.more
	}
	size = b.size
	*b = Builder{Decoder: b.Decoder, bound: b.bound}
	return changes, size
}
