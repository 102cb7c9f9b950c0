package conformance_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/conformance"
)

// plain is a slow and obvious writer to a SQLite file: change by change, one statement
// each. flaw names what it does wrong.
type plain struct {
	flaw, owner string
	db          *sql.DB
	stream      string
	epoch       int
	at          waybill.Position
	seq         uint64
	holds       bool
}

func newPlain(t *testing.T, path, flaw string) conformance.Target {
	open := func() *sql.DB {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=foreign_keys(1)&_pragma=busy_timeout(5000)&_txlock=immediate")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	db := open()
	for _, ddl := range []string{
		`create table waybill_position (stream text primary key, position text not null, seq int not null, epoch int not null,
			applied int not null, filtered int not null default 0, parked int not null default 0, discarded int not null default 0)`,
		`create table waybill_lease (stream text primary key, owner text not null, epoch int not null, until int not null)`,
	} {
		if _, err := db.Exec(ddl); err != nil {
			t.Fatal(err)
		}
	}
	shared := open()
	return conformance.Target{
		New:    func(_ testing.TB, owner string) waybill.Writer { return &plain{flaw: flaw, owner: owner, db: shared} },
		DB:     db,
		Prefix: "waybill_",
		Expire: func(t testing.TB) {
			if _, err := db.Exec(`update waybill_lease set until = 0`); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func (w *plain) Resume(ctx context.Context, stream string) (waybill.Position, error) {
	w.holds = false
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return "", waybill.AsTransient(err)
	}
	defer tx.Rollback()
	var owner string
	var until int64
	err = tx.QueryRowContext(ctx, `select owner, until from waybill_lease where stream = ?`, stream).Scan(&owner, &until)
	mine := w.owner != "" && owner == w.owner && w.flaw != "owner waits" || w.stream == stream && owner == w.owner && w.epoch > 0
	if err == nil && until > time.Now().Unix() && !mine && w.flaw != "no lease" {
		return "", fmt.Errorf("resume %s: %w: %s", stream, waybill.ErrHeld, owner)
	}
	raise := 1
	if w.flaw == "epoch stays" {
		raise = 0
	}
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`insert into waybill_position values (?, '', 0, 0, 0, 0, 0, 0) on conflict do nothing`, []any{stream}},
		{`update waybill_position set epoch = epoch + ? where stream = ?`, []any{raise, stream}},
		{`insert or replace into waybill_lease select stream, ?, epoch, ? from waybill_position where stream = ?`, []any{w.owner, time.Now().Unix() + 10, stream}},
	} {
		if _, err := tx.ExecContext(ctx, q.sql, q.args...); err != nil {
			return "", waybill.AsTransient(err)
		}
	}
	if err := tx.QueryRowContext(ctx, `select position, seq, epoch from waybill_position where stream = ?`, stream).Scan(&w.at, &w.seq, &w.epoch); err != nil {
		return "", waybill.AsTransient(err)
	}
	if err := tx.Commit(); err != nil {
		return "", waybill.AsTransient(err)
	}
	w.stream, w.holds = stream, true
	return w.at, nil
}

func (w *plain) Write(ctx context.Context, b waybill.Batch) error {
	if !w.holds {
		return errors.New("write: not resumed")
	}
	if b.After != w.at && w.flaw != "any batch" {
		return &waybill.GapError{Stream: w.stream, Reason: "batch from elsewhere"}
	}
	if err := b.CheckDense(w.stream, w.seq); err != nil && w.flaw != "no density" {
		return err
	}
	if len(b.Actions) == 0 && w.flaw == "empty batch ignored" {
		return nil
	}
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return waybill.AsTransient(err)
	}
	defer func() { tx.Rollback() }()
	again := func() { // a flaw: commits what there is and goes on in another transaction
		_ = tx.Commit()
		tx, _ = w.db.BeginTx(ctx, nil)
	}
	seq := w.seq
	for _, a := range w.arrange(b.Actions) {
		if a.Len() > 0 || w.flaw != "empty action not counted" {
			seq++
		}
		n := 0
		for c := range a.Changes.All() {
			if err := w.apply(ctx, tx, &a, c); err != nil {
				return err
			}
			if n++; w.flaw == "split action" && n%20 == 0 {
				again()
			}
		}
		if w.flaw == "split batch" {
			again()
		}
	}
	if w.flaw == "position after" {
		again()
	}
	if err := w.move(ctx, tx, b, seq); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return waybill.AsTransient(err)
	}
	w.at, w.seq = b.Upto, seq
	return nil
}

func (w *plain) move(ctx context.Context, tx *sql.Tx, b waybill.Batch, seq uint64) error {
	where := ` where stream = ? and position = ? and epoch = ?`
	if w.flaw == "no fence" {
		where = ` where stream = ? and ?||? is not null`
	}
	empty := 0
	for i := range b.Actions {
		if b.Actions[i].Len() == 0 {
			empty++
		}
	}
	r, err := tx.ExecContext(ctx, `update waybill_position set position = ?, applied = applied + ?, filtered = filtered + ?, seq = ?`+where,
		b.Upto, len(b.Actions)-empty, empty, seq, w.stream, w.at, w.epoch)
	if err != nil {
		return waybill.AsTransient(err)
	}
	if n, _ := r.RowsAffected(); n == 0 {
		return fmt.Errorf("write: %w", waybill.ErrFenced)
	}
	return nil
}

// arrange returns the actions, or for some flaws what a batch must not be made into.
func (w *plain) arrange(actions []waybill.Action) []waybill.Action {
	var all waybill.ChangeList
	for i := range actions {
		for c := range actions[i].Changes.All() {
			all = append(all, *c)
		}
	}
	var first, last waybill.ChangeList
	for i, c := range all {
		later := false
		for _, d := range all[i+1:] {
			later = later || d.Entity == c.Entity && d.Key.Equal(c.Key)
		}
		switch {
		case w.flaw == "parents last" && c.Entity == "customer", w.flaw == "deletes last" && c.Op == waybill.Delete, w.flaw == "clears last" && c.Op == waybill.Truncate:
			last = append(last, c)
		case w.flaw == "last change per key" && later:
		default:
			first = append(first, c)
		}
	}
	switch w.flaw {
	case "parents last", "deletes last", "clears last", "last change per key":
		out := append([]waybill.Action(nil), actions...)
		for i := range out {
			out[i].Changes = waybill.ChangeList(nil)
		}
		if len(out) > 0 {
			out[0].Changes = slices.Concat(first, last)
		}
		return out
	}
	return actions
}

func (w *plain) apply(ctx context.Context, tx *sql.Tx, a *waybill.Action, c *waybill.Change) error {
	n, err := w.exec(ctx, tx, c)
	reason := ""
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		reason = err.Error()
	case n == 0 && c.Op == waybill.Update && w.flaw != "update may miss", n == 0 && c.Op == waybill.Delete && w.flaw == "delete must hit":
		reason = "no such row"
	}
	if reason == "" || w.flaw == "skip refused" {
		return nil
	}
	var epoch int
	if err := tx.QueryRowContext(ctx, `select epoch from waybill_position where stream = ?`, w.stream).Scan(&epoch); err != nil || epoch != w.epoch && w.flaw != "refuse when fenced" {
		return fmt.Errorf("write: %w", waybill.ErrFenced) // the successor has it already
	}
	r := &waybill.Refusal{Action: a.ID, Seq: a.Seq, Entity: c.Entity, Key: c.Key.String(), Reason: reason}
	if w.flaw == "refusal without key" {
		r.Key = ""
	}
	return r
}

func (w *plain) exec(ctx context.Context, tx *sql.Tx, c *waybill.Change) (int64, error) {
	var names, marks, sets, where []string
	var values, setValues, keys []any
	row := append(waybill.Row(nil), c.Row...)
	for _, k := range c.Key {
		where = append(where, w.quote(k.Name)+" = ?")
		keys = append(keys, text(k.Value))
		if _, ok := row.Get(k.Name); !ok {
			row = append(row, k)
		}
	}
	for _, col := range row {
		names, marks, values = append(names, w.quote(col.Name)), append(marks, "?"), append(values, text(col.Value))
		sets, setValues = append(sets, w.quote(col.Name)+" = ?"), append(setValues, text(col.Value))
	}
	op := c.Op
	if op == waybill.Insert && w.flaw == "insert is upsert" {
		op = waybill.Upsert
	}
	table := w.quote(c.Entity)
	var query string
	var args []any
	switch op {
	case waybill.Truncate:
		query, args = "delete from "+table+" where "+strings.Join(append(where, "true"), " and "), keys
	case waybill.Delete:
		query, args = "delete from "+table+" where "+strings.Join(where, " and "), keys
	case waybill.Update:
		query, args = "update "+table+" set "+strings.Join(sets, ", ")+" where "+strings.Join(where, " and "), slices.Concat(setValues, keys)
	default:
		query, args = "insert into "+table+" ("+strings.Join(names, ", ")+") values ("+strings.Join(marks, ", ")+")", values
		if op == waybill.Upsert {
			var key []string
			for _, k := range c.Key {
				key = append(key, w.quote(k.Name))
			}
			query += " on conflict (" + strings.Join(key, ", ") + ") do update set " + strings.Join(sets, ", ")
			args = append(args, setValues...)
			if w.flaw == "upsert sets absent" && c.Entity == "customer" {
				query += ", score = null, email = null"
			}
		}
	}
	r, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (w *plain) quote(name string) string {
	if w.flaw == "unquoted" {
		return name
	}
	return "`" + strings.ReplaceAll(name, "`", "``") + "`" // in double quotes, an unknown column would be a string
}

// text is a value as SQLite takes it; the suite uses numbers, strings and null.
func text(v waybill.Value) any {
	row := conformance.Row(`{"v":` + v.String() + `}`)
	if row[0].Value.IsNull() {
		return nil
	}
	return unquote(string(row[0].Value.Raw))
}

func (w *plain) Drop(ctx context.Context, stream string) error {
	where := ` where stream = ?`
	if w.flaw == "drop drops all" {
		where = ` where ? <> ''`
	}
	_, err := w.db.ExecContext(ctx, `delete from waybill_position`+where, stream)
	if err == nil {
		_, err = w.db.ExecContext(ctx, `delete from waybill_lease`+where, stream)
	}
	return err
}

func (w *plain) Close() error {
	if w.flaw == "leaves a goroutine" {
		go func() { <-make(chan int) }()
	}
	if !w.holds || w.flaw == "lease kept" {
		return nil
	}
	w.holds = false
	where := ` and epoch = ?`
	if w.flaw == "close frees any lease" {
		where = ` and ? > 0`
	}
	_, err := w.db.Exec(`delete from waybill_lease where stream = ?`+where, w.stream, w.epoch)
	return err
}
