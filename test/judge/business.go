package judge

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// row is a row or key of a business table.
type row map[string]any

// change is one change as the outbox takes it.
type change struct {
	Entity string `json:"entity"`
	Op     string `json:"op"`
	Key    row    `json:"key"`
	Row    row    `json:"row,omitempty"`
}

// transaction is one business transaction. It is not interrupted: its outcome must be known.
// Every write goes to the table and to the list of
// changes that emit puts into the outbox.
type transaction struct {
	s       *session
	tx      *sql.Tx
	id      string // the action's, for SQLite
	changes []change
	version map[int64]int64
}

func (s *session) begin() (*transaction, error) {
	tx, err := s.w.Source.DB.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &transaction{s: s, tx: tx, id: strings.ToLower(rand.Text()), version: map[int64]int64{}}, nil
}

func (t *transaction) exec(query string, args ...any) error {
	_, err := t.tx.ExecContext(context.Background(), t.s.w.Source.q(query), args...)
	return err
}

func (t *transaction) number(query string, args ...any) (n int64, err error) {
	err = t.tx.QueryRowContext(context.Background(), t.s.w.Source.q(query), args...).Scan(&n)
	return n, err
}

// ids reads a list of numbers in order.
func (t *transaction) ids(query string, args ...any) ([]int64, error) {
	rows, err := t.tx.QueryContext(context.Background(), t.s.w.Source.q(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// emit puts what was changed since the last emit into the outbox.
func (t *transaction) emit(name string) error {
	if len(t.changes) == 0 || t.s.w.Silent {
		t.changes = nil
		return nil
	}
	doc, err := json.Marshal(t.changes)
	if err != nil {
		return err
	}
	t.changes = nil
	if t.s.w.Source.SQLite {
		return t.exec(`insert into waybill_outbox (action, name, changes) values ($1, $2, $3)`, t.id, name, string(doc))
	}
	return t.exec(`select waybill.emit($1, $2::text::jsonb)`, name, string(doc))
}

func (t *transaction) note(op, entity string, key, set row) {
	if t.s.w.Upserts && (op == "insert" || op == "update" && entity == "journal") {
		op = "upsert"
	}
	t.changes = append(t.changes, change{Entity: entity, Op: op, Key: key, Row: set})
}

func (t *transaction) insert(table string, key, set row) error {
	all := row{}
	for _, part := range []row{key, set} {
		maps.Copy(all, part)
	}
	var names, marks []string
	var args []any
	for _, c := range sorted(all) {
		names, args = append(names, c), append(args, all[c])
		marks = append(marks, fmt.Sprintf("$%d", len(args)))
	}
	op := "insert"
	if table == "journal" || t.s.rng.IntN(4) == 0 {
		op = "upsert"
	}
	t.note(op, table, key, all)
	return t.exec("insert into "+table+" ("+strings.Join(names, ", ")+") values ("+strings.Join(marks, ", ")+")", args...)
}

func (t *transaction) update(table string, id int64, set row) error {
	var sets []string
	var args []any
	for _, c := range sorted(set) {
		args = append(args, set[c])
		sets = append(sets, fmt.Sprintf("%s = $%d", c, len(args)))
	}
	t.note("update", table, row{"id": id}, set)
	return t.exec(fmt.Sprintf("update %s set %s where id = $%d", table, strings.Join(sets, ", "), len(args)+1), append(args, id)...)
}

func (t *transaction) remove(table string, id int64) error {
	t.note("delete", table, row{"id": id}, nil)
	return t.exec("delete from "+table+" where id = $1", id)
}

func sorted(r row) []string {
	names := make([]string, 0, len(r))
	for c := range r {
		names = append(names, c)
	}
	slices.Sort(names)
	return names
}

// touch locks the customers, raises their versions, does the work, and sums up: counts and
// total of each customer that still exists, and the journal.
func (t *transaction) touch(customers []int64, work func() error) error {
	slices.Sort(customers)
	for _, c := range customers {
		v, err := t.number(`select version from directory where id = $1 for update`, c)
		if err != nil {
			return fmt.Errorf("lock customer %d: %w", c, err)
		}
		t.version[c] = v + 1
		if err := t.exec(`update directory set version = $1 where id = $2`, v+1, c); err != nil {
			return err
		}
		exists, err := t.number(`select count(*) from customer where id = $1`, c)
		if err != nil {
			return err
		}
		if exists == 0 {
			if err := t.create(c); err != nil {
				return fmt.Errorf("create customer %d: %w", c, err)
			}
		}
	}
	if err := work(); err != nil {
		return err
	}
	number := t.s.n*1_000_000 + t.s.step
	for _, c := range customers {
		if err := t.sumUp(c); err != nil {
			return fmt.Errorf("sum up customer %d: %w", c, err)
		}
		if err := t.insert("journal", row{"action": number, "customer_id": c},
			row{"version": t.version[c], "session": t.s.n, "step": t.s.step}); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

func (t *transaction) sumUp(c int64) error {
	exists, err := t.number(`select count(*) from customer where id = $1`, c)
	if err != nil || exists == 0 {
		return err
	}
	phones, err := t.number(`select count(*) from phone where customer_id = $1`, c)
	if err != nil {
		return err
	}
	addresses, err := t.number(`select count(*) from address where customer_id = $1`, c)
	if err != nil {
		return err
	}
	total, err := t.number(`select coalesce((select sum(version) from phone where customer_id = $1), 0)
		+ coalesce((select sum(version) from address where customer_id = $2), 0)`, c, c)
	if err != nil {
		return err
	}
	return t.update("customer", c, row{"version": t.version[c], "phones": phones, "addresses": addresses, "total": total})
}

func (t *transaction) create(c int64) error {
	n := t.version[c]
	if err := t.insert("customer", row{"id": c}, row{
		"name": fmt.Sprintf("Customer %d.%d", c, n), "email": fmt.Sprintf("c%d.%d@example.com", c, n), "city": city(n),
		"version": n, "phones": 0, "addresses": 0, "total": 0,
	}); err != nil {
		return err
	}
	for range 1 + t.s.rng.IntN(3) {
		if err := t.addPhone(c); err != nil {
			return err
		}
	}
	for range 1 + t.s.rng.IntN(2) {
		if err := t.addAddress(c); err != nil {
			return err
		}
	}
	return nil
}

func city(n int64) string {
	return []string{"Helsinki", "Łódź", "São Paulo", "東京", "Köln", "L'Aquila"}[n%6]
}

func (t *transaction) newID() int64 {
	t.s.made++
	return t.s.n*1_000_000 + t.s.made
}

func (t *transaction) addPhone(c int64) error {
	id := t.newID()
	return t.insert("phone", row{"id": id}, row{
		"customer_id": c, "kind": []string{"home", "work", "mobile"}[id%3], "number": fmt.Sprintf("+358 %d", id), "version": t.version[c],
	})
}

func (t *transaction) addAddress(c int64) error {
	id := t.newID()
	return t.insert("address", row{"id": id}, row{
		"customer_id": c, "street": fmt.Sprintf("Street \"%d\"", id), "city": city(id), "note": t.filler(), "version": t.version[c],
	})
}

// filler is text that does not compress.
func (t *transaction) filler() any {
	if t.s.w.NoteBytes == 0 {
		return nil
	}
	b := make([]byte, t.s.w.NoteBytes)
	for i := range b {
		b[i] = 'a' + byte(t.s.rng.IntN(26))
	}
	return string(b)
}
