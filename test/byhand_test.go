package test

import (
	"context"
	"database/sql"
	"fmt"
)

// byHand is a transaction that the test holds open. It writes the journal only, by upserts:
// nothing at the target refuses it a second time.
type byHand struct {
	s      *scenario
	tx     *sql.Tx
	action int
}

func (s *scenario) byHand(action int) *byHand {
	s.t.Helper()
	tx, err := s.source.DB.BeginTx(context.Background(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = tx.Rollback() })
	return &byHand{s, tx, action}
}

// touch records that the action makes this version of a customer.
func (h *byHand) touch(customer, version int) {
	h.s.t.Helper()
	changes := fmt.Sprintf(`[{"entity": "journal", "op": "upsert", "key": {"action": %d, "customer_id": %d},
		"row": {"version": %d, "session": %[1]d, "step": 1}}]`, h.action, customer, version)
	emit := fmt.Sprintf(`select waybill.emit('by hand', '%s')`, changes)
	if h.s.source.SQLite {
		emit = fmt.Sprintf(`insert into waybill_outbox (action, changes) values ('by hand %d', '%s')`, h.action, changes)
	}
	queries := []string{fmt.Sprintf(`insert into journal values (%d, %d, %d, %[1]d, 1)`, h.action, customer, version), emit}
	if h.s.combo.capture == changed {
		queries = queries[:1]
	}
	for _, query := range queries {
		if _, err := h.tx.Exec(query); err != nil {
			h.s.t.Fatal(err)
		}
	}
}

func (h *byHand) commit() {
	h.s.t.Helper()
	if err := h.tx.Commit(); err != nil {
		h.s.t.Fatal(err)
	}
}

// ledger commits actions by hand, numbered from first.
func (s *scenario) ledger(first, n int) {
	s.t.Helper()
	for i := range n {
		h := s.byHand(first + i)
		h.touch(1, first+i)
		h.commit()
	}
}
