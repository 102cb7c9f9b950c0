package outbox

import (
	"context"
	"fmt"

	waybill "github.com/waybill-data/waybill"
)

// Action is what one business transaction changed.
type Action struct {
	// ID is empty, or what an earlier Emit of the same transaction returned, to add to that
	// action. PostgreSQL does not need it: there the transaction is the action.
	ID string
	// Name says what happened, "customer.created"; may be empty. Valid UTF-8 without control
	// characters.
	Name string
	// Trace is the W3C traceparent of the request that this action belongs to; may be empty. As
	// W3C Trace Context asks, one that is malformed is left out: a request must not fail by
	// the header that it came with.
	Trace string
	// Changes are what changed, at least one, in the order in which they shall take effect.
	Changes []Change
}

// Change is one entity created, updated or deleted. Insert, Update, Upsert and Delete make one.
type Change struct {
	// Entity is the type name, "customer" or "crm.customer".
	Entity string
	// Op is waybill.Insert, Update, Upsert or Delete.
	Op waybill.Op
	// Key identifies the entity: at least one column, each a string, number or boolean.
	Key any
	// Row is the entity after the change; nil for Delete. It need not repeat the key. Where it
	// does, an Update may carry another value and so change the key.
	Row any
	// Before is the entity before the change where that is known, else nil.
	Before any
}

// Row is the plainest form of a key or a row: columns by name.
type Row = map[string]any

// Insert creates an entity; the target refuses it where the key exists already.
func Insert(entity string, key, row any) Change {
	return Change{Entity: entity, Op: waybill.Insert, Key: key, Row: row}
}

// Update changes the columns that row carries; the target refuses it where the key is missing.
func Update(entity string, key, row any) Change {
	return Change{Entity: entity, Op: waybill.Update, Key: key, Row: row}
}

// Upsert creates the entity, or changes the columns that row carries.
func Upsert(entity string, key, row any) Change {
	return Change{Entity: entity, Op: waybill.Upsert, Key: key, Row: row}
}

// Delete removes the entity; one that is already gone is no error.
func Delete(entity string, key any) Change {
	return Change{Entity: entity, Op: waybill.Delete, Key: key}
}

// Emit writes the action to the outbox in the transaction tx, and returns the action's ID,
// which is the same wherever the action arrives.
//
// tx is a *sql.Tx, a pgx.Tx, or anything that has their methods, such as an sqlx.Tx; or a
// *sql.Conn on which the caller has begun a transaction, which Emit cannot verify. A database
// or a pool is refused, since the action would be committed apart from the data. Which
// database it is Emit finds out by itself.
//
// An error means that nothing was written, or that the transaction cannot be used any
// further, and in any case that it should be rolled back. It names the change (counted from 1)
// and the entity, and no values.
func Emit(ctx context.Context, tx any, action Action) (id string, err error) {
	if id, err = emit(ctx, tx, action); err != nil {
		return "", fmt.Errorf("emit %q to the outbox: %w", action.Name, err)
	}
	return id, nil
}

func emit(ctx context.Context, tx any, action Action) (string, error) {
	send, err := sender(tx)
	if err != nil {
		return "", err
	}
	changes, err := encode(&action)
	if err != nil {
		return "", err
	}
	return send(ctx, message{
		id: action.ID, name: orNull(action.Name), trace: orNull(validTrace(action.Trace)), changes: string(changes),
	})
}

// message is what goes into the outbox; name and trace are a string or nil.
type message struct {
	id          string
	name, trace any
	changes     string
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// validTrace is s if it has the form version-trace-parent-flags of W3C Trace Context, of any
// version that begins like the first, else empty.
func validTrace(s string) string {
	const form = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx"
	if len(s) < len(form) || len(s) > len(form) && (s[:2] == "00" || s[len(form)] != '-') || len(s) > 256 {
		return ""
	}
	for i := range len(s) {
		hex := s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f'
		switch {
		case i >= len(form):
			if s[i] <= ' ' || s[i] > '~' {
				return ""
			}
		case form[i] == 'x' && !hex, form[i] == '-' && s[i] != '-':
			return ""
		}
	}
	return s
}
