package wal

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/envelope/spill"
	"github.com/waybill-data/waybill/internal/postgres/pgoutput"
)

// outboxColumns are the places of the outbox's columns.
type outboxColumns struct{ id, at, name, trace, changes int }

func (r *relation) findOutbox() error {
	o := &outboxColumns{-1, -1, -1, -1, -1}
	for i := range r.message.Columns {
		switch r.message.Columns[i].Name {
		case "id":
			o.id = i
		case "at":
			o.at = i
		case "name":
			o.name = i
		case "trace":
			o.trace = i
		case "changes":
			o.changes = i
		}
	}
	if min(o.id, o.at, o.name, o.trace, o.changes) < 0 {
		return errors.New("the outbox in the log has another form: it is one of another version")
	}
	r.outbox = o
	return nil
}

// outboxAction is what the outbox's rows and messages of one transaction said.
type outboxAction struct {
	begun           bool
	id, name, trace string
	at              time.Time
	changes         spill.Builder
	fault           string
}

// outboxRow takes one row of waybill.outbox.
func (a *assembler) outboxRow(tx *transaction, r *relation, row []pgoutput.Datum) error {
	o, b := r.outbox, &tx.outbox
	if len(row) != len(r.message.Columns) {
		return errors.New("a row of the outbox has another form")
	}
	if !b.begun {
		b.begun = true
		b.id = string(row[o.id].Data)
		if at, err := time.Parse("2006-01-02 15:04:05.999999-07", string(row[o.at].Data)); err == nil {
			b.at = at.UTC()
		}
	} else if b.id == "" {
		b.id = string(row[o.id].Data)
	}
	if row[o.name].Kind == 't' {
		b.name = string(row[o.name].Data)
	}
	if row[o.trace].Kind == 't' {
		b.trace = string(row[o.trace].Data)
	}
	return a.outboxChanges(tx, row[o.changes].Data, "malformed outbox row")
}

func (a *assembler) outboxChanges(tx *transaction, raw []byte, what string) error {
	message := a.arena.keep(raw)
	list, err := a.decoder.Decode(message)
	if err == nil {
		return tx.outbox.changes.Add(message, list)
	}
	tx.outbox.fault = what + ": " + err.Error()
	return nil
}

// logical takes what pg_logical_emit_message wrote.
func (a *assembler) logical(m *pgoutput.LogicalMessage) error {
	if !a.outbox || !m.Transactional || m.Prefix != "waybill" || len(m.Content) == 0 || a.cur == nil {
		return nil
	}
	b := &a.cur.outbox
	if a.cur.any = true; a.cur.seen {
		return nil
	}
	b.begun = true
	if m.Content[0] == '[' {
		return a.outboxChanges(a.cur, m.Content, "malformed message in the log")
	}
	var wrapped struct {
		Name, Trace string
		Changes     json.RawMessage
	}
	if err := json.Unmarshal(m.Content, &wrapped); err != nil {
		b.fault = "malformed message in the log: it is neither a list of changes nor an object with one"
		return nil //nolint:nilerr // refused at the commit
	}
	if wrapped.Name != "" {
		b.name = wrapped.Name
	}
	if wrapped.Trace != "" {
		b.trace = wrapped.Trace
	}
	return a.outboxChanges(a.cur, wrapped.Changes, "malformed message in the log")
}

// outboxAction completes the action that a transaction's outbox rows and messages made.
func (a *assembler) outboxAction(b *outboxAction, it *item) error {
	c := &it.action
	c.ID, c.Name, c.Trace = b.id, b.name, b.trace
	if !b.at.IsZero() {
		c.Time = b.at
	}
	if b.fault != "" {
		return &waybill.Refusal{
			Action: c.ID, Reason: b.fault,
			Remedy: "it stands in the log, where it cannot be corrected: drop the pipeline and start over behind it",
		}
	}
	c.Changes, c.Size = b.changes.Take()
	return nil
}
