package sqlite

import (
	"errors"
	"fmt"
	"testing"

	waybill "github.com/waybill-data/waybill"
)

// TestSplitAcrossTransactions: an action that goes on after it was read is refused, not torn.
func TestSplitAcrossTransactions(t *testing.T) {
	a := newSource(t, testStream)
	r := a.opened("", 0)
	a.emit("x", 1)
	r.take(1)
	a.emit("x", 2)
	_, err := r.next()
	var refusal *waybill.Refusal
	if !errors.As(err, &refusal) || refusal.Action != "x" {
		t.Fatalf("Next: %v, want a refusal of action x", err)
	}
	want := `action x refused: row 2 of waybill_outbox came after its action was read: rows of one action were committed in two transactions; ` +
		`insert its changes again under an action ID of their own, if they shall be carried, and empty it with UPDATE waybill_outbox SET changes = '[]' WHERE n = 2`
	wantErr(t, err, nil, want)
}

// TestSplitIsMended: what the refusal of a late row says to do works, however many there are
// and whatever follows them.
func TestSplitIsMended(t *testing.T) {
	for _, follow := range []bool{false, true} {
		a := newSource(t, testStream)
		r := a.opened("", 0)
		a.emit("x", 1)
		r.take(1)
		a.emit("x", 2)
		a.emit("x", 3)
		if follow {
			a.emit("y", 4)
		}
		for n := 2; n <= 3; n++ {
			if _, err := r.next(); err != nil { // the position moved over what is mended
				wantErr(t, err, nil, fmt.Sprintf("row %d of waybill_outbox came after", n))
			} else if _, err = r.next(); err == nil {
				t.Fatalf("row %d is taken", n)
			}
			a.exec("UPDATE waybill_outbox SET changes = '[]' WHERE n = ?", n)
			r.close()
			r.open(r.at, r.seq)
		}
		if ids := r.drain(); follow != (len(ids) == 1) || follow != (r.seq == 2) {
			t.Fatalf("read %v up to action %d", ids, r.seq)
		}
		r.ack()
		r.close()
		a.want("SELECT n - 3, seq FROM waybill_consumer", map[bool]string{false: "0|1", true: "1|2"}[follow])
		r.open(r.at, r.seq)
		a.emit("z", 5)
		if ids := r.take(1); ids[0] != "z" {
			t.Fatalf("read %v", ids)
		}
		r.close()
	}
}

// TestOvertaken: rows that another engine carried and removed while this reader was halted
// are no loss; those that nobody acknowledged are.
func TestOvertaken(t *testing.T) {
	for _, c := range []struct {
		name string
		rows int    // that the other engine carries
		lose string // removed by hand
		want error
	}{
		{"all of them", 5, "false", waybill.ErrFenced},
		{"all but the newest", 4, "false", waybill.ErrFenced},
		{"and one is lost", 4, "n = 6", waybill.ErrGap},
		{"and the rest is lost", 4, "n > 5", waybill.ErrGap},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newSource(t, testStream)
			a.emit("a", 1)
			old := a.opened("", 0)
			old.take(1)
			for i := range 5 {
				a.emit(fmt.Sprint("b", i), i)
			}
			successor := a.reader(SourceOptions{MaxActions: c.rows + 1})
			successor.open("", 0)
			successor.take(c.rows + 1)
			successor.ack()
			flushNow(t, successor.Outbox)
			a.want("SELECT count(*) FROM waybill_outbox", fmt.Sprint(5-c.rows))
			a.emit("c", 1)
			a.exec("DELETE FROM waybill_outbox WHERE " + c.lose)
			if c.rows == 5 {
				successor.take(1)
				successor.ack()
				flushNow(t, successor.Outbox)
			}
			_, err := old.next()
			wantErr(t, err, c.want)
		})
	}
}

func TestMalformedRowIsMended(t *testing.T) {
	a := newSource(t, testStream)
	a.exec("DROP TRIGGER waybill_outbox_insert")
	a.emit("a", 1)
	a.exec(`INSERT INTO waybill_outbox (action, changes) VALUES ('b', '[]'), ('b', '[{"entity":"customer","op":"upsrt"}]')`)
	a.emit("c", 1)
	r := a.opened("", 0)
	r.take(1)
	_, err := r.next()
	want := `action b refused: row 3 of waybill_outbox is malformed: change 1 (customer): op "upsrt" is not one of insert, update, upsert, delete; ` +
		`correct it with UPDATE waybill_outbox SET changes = … WHERE n = 3 ('[]' carries nothing)`
	if err == nil || err.Error() != want {
		t.Fatalf("have %v\nwant %s", err, want)
	}
	a.exec("UPDATE waybill_outbox SET changes = '[]' WHERE n = 3")
	r.close()
	r.open(r.at, r.seq)
	if ids := r.take(2); ids[0] != "b" || ids[1] != "c" {
		t.Fatalf("read %v", ids)
	}
}
