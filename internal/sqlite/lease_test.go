package sqlite

import (
	"fmt"
	"testing"
	"time"

	waybill "github.com/waybill-data/waybill"
)

// TestLeaseIsRenewed without anything to write, and runs out when its holder is gone.
func TestLeaseIsRenewed(t *testing.T) {
	a := newApp(t)
	x := a.writer(TargetOptions{Owner: "one", Lease: 300 * time.Millisecond})
	first := a.rows("SELECT expires_ms FROM waybill_lease")
	waitFor(t, func() bool { return a.rows("SELECT expires_ms FROM waybill_lease") > first })
	other := NewWriter(TargetOptions{Path: a.path, Owner: "two"})
	defer other.Close()
	_, err := other.Resume(ctx(t), testStream)
	wantErr(t, err, waybill.ErrHeld, "SQLite database "+a.path+": ", "engine one, process", "whose lease ends in")
	x.stopRenewing() // as if the process were frozen
	waitFor(t, func() bool {
		_, err := other.Resume(ctx(t), testStream)
		return err == nil
	})
	wantErr(t, x.try([]waybill.Change{}), waybill.ErrFenced)
	// A clock that was set back does not make a lease last for ever.
	a.exec("UPDATE waybill_lease SET expires_ms = expires_ms + 86400000")
	third := NewWriter(TargetOptions{Path: a.path, Owner: "three"})
	defer third.Close()
	if _, err := third.Resume(ctx(t), testStream); err != nil {
		t.Fatal(err)
	}
}

// TestLeaseRenewedWithin: a stream that is written renews in the batch's transaction.
func TestLeaseRenewedWithin(t *testing.T) {
	a := newApp(t, "CREATE TABLE journal (n integer PRIMARY KEY)")
	x := a.writer(TargetOptions{Lease: time.Hour})
	first := a.rows("SELECT expires_ms FROM waybill_lease")
	x.write(insert("journal", `{"n":1}`, `{}`))
	a.want("SELECT expires_ms FROM waybill_lease", first) // not yet due
	x.renewed.Store(0)
	waitFor(t, func() bool { return fmt.Sprint(time.Now().Add(time.Hour).UnixMilli()) > first })
	x.write(insert("journal", `{"n":2}`, `{}`))
	if now := a.rows("SELECT expires_ms FROM waybill_lease"); now <= first {
		t.Fatalf("not renewed: %s, then %s", first, now)
	}
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}
