package target

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/testenv"
)

// What the engine sends and hears around a commit.
const (
	commitAnswer  = "COMMIT\x00"
	commitRequest = "COMMIT\x00"
	moveRequest   = "WITH moved AS"
)

func newCutTarget(t *testing.T) (*targetRig, *cutter) {
	var cut *cutter
	r := newTarget(t, `CREATE TABLE item (id bigint PRIMARY KEY, v text)`)
	_ = r.w.Close()
	r.w = r.writer(func(o *Options) { cut, o.URL = newCutter(t, r.db.URL) })
	r.resume()
	return r, cut
}

// insert makes a batch that would be refused the second time.
func (r *targetRig) insertNext() error {
	return r.try(act(tInsert("item", key(int(r.seq)+1), row("v", `"x"`))))
}

func (r *targetRig) wantItems(n string) {
	r.t.Helper()
	r.want("SELECT count(*), coalesce(max(id), 0), (SELECT seq FROM waybill.position) FROM item", n+"|"+n+"|"+n)
}

func TestCommitWhoseAnswerIsLost(t *testing.T) {
	r, cut := newCutTarget(t)
	for i := range 3 {
		cut.arm(toClient, commitAnswer, false, false)
		if err := r.insertNext(); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if cut.cuts != i+1 {
			t.Fatal("the connection was not cut")
		}
	}
	r.wantItems("3")
	if err := r.insertNext(); err != nil {
		t.Fatal(err)
	}
	r.wantItems("4")
}

func TestCommitThatNeverArrives(t *testing.T) {
	for _, c := range []struct {
		name, marker string
		inside       bool
	}{
		{"nothing arrives", "BEGIN", false},
		{"all but the commit arrives", commitRequest, true},
		{"all but position and commit arrives", moveRequest, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, cut := newCutTarget(t)
			cut.arm(toServer, c.marker, c.inside, false)
			err := r.insertNext()
			if !waybill.Transient(err) || cut.cuts != 1 || !strings.Contains(err.Error(), "nothing was written") {
				t.Fatalf("Write: %v, %d cuts", err, cut.cuts)
			}
			r.wantItems("0")
			if err := r.insertNext(); err != nil {
				t.Fatal(err)
			}
			r.wantItems("1")
		})
	}
}

// The rest of a transaction whose connection broke reaches the server after the engine has
// read back: the epoch, raised meanwhile, keeps it from taking effect.
func TestLateTwin(t *testing.T) {
	for _, marker := range []string{moveRequest, commitRequest} {
		for _, spared := range []bool{false, true} {
			if spared && marker == commitRequest {
				continue // past its compare-and-swap, a twin is ended or waited for
			}
			r, cut := newCutTarget(t)
			if spared {
				r.w.link.backend.start = nil // as if the engine might not end it
			}
			cut.arm(toServer, marker, true, true)
			if err := r.insertNext(); !waybill.Transient(err) || cut.cuts != 1 {
				t.Fatalf("Write: %v, %d cuts", err, cut.cuts)
			}
			r.wantItems("0")
			if !spared {
				r.await("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'", "0")
			}
			cut.release(t)
			r.await("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waybill target'", "1")
			r.wantItems("0")
			if err := r.insertNext(); err != nil {
				t.Fatal(err)
			}
			r.wantItems("1")
		}
	}
}

// A commit that is still on its way holds the row; reading back waits for its end.
func TestReadBackWaitsForTheCommit(t *testing.T) {
	r, cut := newCutTarget(t)
	r.w.link.backend.start = nil // it may not be ended
	r.w.halt = func(string) {}
	cut.arm(toServer, commitRequest, true, true)
	released := make(chan struct{})
	go func() {
		defer close(released)
		r.await("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", "1")
		cut.release(t)
	}()
	err := r.insertNext()
	<-released
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	r.wantItems("1")
}

// While the server is away nobody can tell; the same batch is written again later.
func TestServerDiesInMidCommit(t *testing.T) {
	c := testenv.NewCluster(t)
	url := c.URL("postgres")
	testenv.Exec(t, url, "CREATE TABLE public.item (id bigint PRIMARY KEY, v text)")
	for i, point := range []string{"write.begun", "write.data", "write.position"} {
		r := &targetRig{t: t, db: &testenv.Database{URL: url}}
		r.w = r.writer()
		r.resume()
		r.w.halt = func(step string) {
			if step == point {
				r.w.halt = nil
				c.Kill(t)
			}
		}
		err := r.insertNext()
		if !waybill.Transient(err) {
			t.Fatalf("Write with the server killed at %s: %v", point, err)
		}
		if err := r.insertNext(); !waybill.Transient(err) {
			t.Fatalf("Write with the server away: %v", err)
		}
		c.Start(t)
		if err := r.insertNext(); err != nil && !waybill.Transient(err) {
			t.Fatal(err)
		} else if err != nil {
			if err := r.insertNext(); err != nil {
				t.Fatal(err)
			}
		}
		r.wantItems([]string{"1", "2", "3"}[i])
		if err := r.w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker that is stopped in mid-transaction while another takes the stream does no harm
// when it goes on, wherever it was stopped.
func TestZombie(t *testing.T) {
	for _, point := range []string{"write.begun", "write.data", "write.position"} {
		for _, spared := range []bool{false, true} {
			r := newTarget(t, `CREATE TABLE item (id bigint PRIMARY KEY, v text)`)
			next := &targetRig{t: t, db: r.db, w: r.writer()}
			if spared && point == "write.position" {
				continue // it holds the stream's row; there is no way around ending it
			}
			r.w.halt = func(step string) {
				if step != point {
					return
				}
				r.w.halt = nil
				r.w.stopRenewal() // it is stopped as a whole
				if spared {
					r.exec("UPDATE waybill.lease SET backend_start = NULL")
				}
				if _, err := next.w.Resume(next.ctx(), targetStream); !errors.Is(err, waybill.ErrHeld) {
					t.Errorf("Resume while the lease is alive: %v", err)
				}
				r.exec("UPDATE waybill.lease SET expires_at = clock_timestamp()")
				next.resume()
				if spared {
					return // it goes on, and only its epoch is wrong
				}
				for range 2 {
					if err := next.insertNext(); err != nil {
						t.Errorf("Write of the successor: %v", err)
					}
				}
			}
			err := r.insertNext()
			if !errors.Is(err, waybill.ErrFenced) {
				t.Fatalf("Write of the zombie stopped at %s: %v", point, err)
			}
			for next.seq < 2 {
				if err := next.insertNext(); err != nil {
					t.Fatal(err)
				}
			}
			next.wantItems("2")
			if err := r.insertNext(); !errors.Is(err, waybill.ErrFenced) {
				t.Fatalf("Write of the zombie again: %v", err)
			}
			next.wantItems("2")
		}
	}
}
