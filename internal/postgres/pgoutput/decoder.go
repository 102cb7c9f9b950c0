package pgoutput

import "errors"

// Decoder decodes the messages of one replication connection. The zero value is ready; Reset makes
// it so again.
type Decoder struct {
	inStream bool
}

// Reset forgets everything, for a new connection.
func (d *Decoder) Reset() { *d = Decoder{} }

// Decode decodes one message of the plug-in (what XLogData carries). What the message holds aliases
// data.
func (d *Decoder) Decode(data []byte) (Message, error) {
	return nil, errors.New("not in this version")
}
