package target

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/waybill-data/waybill"
)

// changeShape is what changes of the same entity, operation and columns have in common, and
// where in a change the values of a statement's columns stand.
type changeShape struct {
	entity string
	op     waybill.Op
	// fact: it was captured from what the source's tables hold. Lenient: it is applied whatever the
	// target holds. Whole: its row has all columns of the source.
	fact, lenient, whole bool

	keyNames []string
	rowNames []string
	kind     *groupKind
	sources  []valueSource // one for each column of kind
	// An update whose row holds columns of the key: whether it changes the key shows only in
	// the values.
	rekey        *groupKind
	rekeySources []valueSource
	rowKeys      []rowKey
	keyColumns   []int // of the table, in the order of keyNames
}

// valueSource says where a column's value stands in a change.
type valueSource struct {
	fromKey bool
	at      int
}

// rowKey is a column of the key that the row holds too.
type rowKey struct{ key, row int }

// groupKind is what decides which statement a change needs.
type groupKind struct {
	id      int
	mode    kindMode
	table   *targetTable
	op      waybill.Op
	key     []int // columns of the table that find the row, in the order of the first shape
	set     []int // columns that are written; for insert and upsert with those of the key
	rekey   bool  // an update that changes the key
	unique  *uniqueKey
	twoStep bool // an upsert that ON CONFLICT cannot do

	touchesUnique    bool // writes a column of a unique key other than the one that finds the row
	touchesReference bool // changes a column that foreign keys point at
	inexactKey       bool // equal keys may have different bytes
	moves            map[*groupKind]bool
	statements       map[string][]*targetStatement
	copy             string      // COPY, once made
	keyForms         []knownForm // of the columns of the key
	former           []byte      // how the columns of passTypes travelled last: 1 as text
}

// kindMode is what a statement makes of rows that are there, or are not, against expectation.
type kindMode uint8

const (
	asGiven      kindMode = iota // written by an application: refuses, but for deletes
	asFact                       // captured: fails, to be done again in a mode that counts
	countFound                   // counts the keys that have a row already
	countMissing                 // counts the keys that have none
)

// columns of the statement's parameters: what is written, then what finds the row and is not
// among that.
func (k *groupKind) columns() []int {
	if k.op == waybill.Insert || k.op == waybill.Upsert {
		return k.set
	}
	return append(slices.Clone(k.key), k.set...)
}

// shape finds or works out the shape of c, whose table is t.
func (s *targetSchema) shape(c *waybill.Change, t *targetTable) (*changeShape, *refusedChange) {
	want := s.want(c)
	for _, sh := range s.shapes[c.Entity] {
		if sh.op == c.Op && sh.fact == want.fact && sh.lenient == want.lenient && sh.whole == want.whole && sameNames(sh.keyNames, c.Key) && sameNames(sh.rowNames, c.Row) {
			return sh, nil
		}
	}
	sh, refused := s.newShape(want, c, t)
	if refused == nil {
		if len(s.shapes[c.Entity]) >= maxShapes {
			s.shapes[c.Entity] = nil
		}
		s.shapes[c.Entity] = append(s.shapes[c.Entity], sh)
	}
	return sh, refused
}

func sameNames(names []string, row waybill.Row) bool {
	if len(names) != len(row) {
		return false
	}
	for i := range row {
		if names[i] != row[i].Name {
			return false
		}
	}
	return true
}

// want is what else than the columns decides on the shape of c.
func (s *targetSchema) want(c *waybill.Change) changeShape {
	want := changeShape{entity: c.Entity, op: c.Op, fact: c.Schema != nil}
	if want.fact && s.lenient {
		want.lenient, want.whole = true, c.Op == waybill.Update && hasAll(c)
	}
	return want
}

// hasAll tells whether c carries all columns that its source has.
func hasAll(c *waybill.Change) bool {
	for i := range c.Schema.Columns {
		name := c.Schema.Columns[i].Name
		if _, ok := c.Row.Get(name); ok {
			continue
		}
		if _, ok := c.Key.Get(name); !ok {
			return false
		}
	}
	return true
}

func (s *targetSchema) newShape(want changeShape, c *waybill.Change, t *targetTable) (*changeShape, *refusedChange) {
	sh := &want
	if c.Op == waybill.Truncate && len(c.Key) == 0 {
		sh.kind = s.kindOf(groupKind{table: t, op: c.Op})
		return sh, nil
	}
	where := map[int]valueSource{}
	for i, col := range c.Key {
		n := t.column(col.Name)
		if n < 0 {
			return nil, unknownColumn(t, col.Name)
		}
		if _, twice := where[n]; twice {
			return nil, &refusedChange{reason: fmt.Sprintf("its key names column %s twice", col.Name)}
		}
		sh.keyNames = append(sh.keyNames, col.Name)
		sh.keyColumns = append(sh.keyColumns, n)
		where[n] = valueSource{true, i}
	}
	if len(c.Key) == 0 {
		return nil, &refusedChange{reason: "it has no key"}
	}
	var rest []int
	fromRow := map[int]valueSource{}
	for i, col := range c.Row {
		n := t.column(col.Name)
		if n < 0 {
			return nil, unknownColumn(t, col.Name)
		}
		sh.rowNames = append(sh.rowNames, col.Name)
		if k, isKey := where[n]; isKey {
			sh.rowKeys = append(sh.rowKeys, rowKey{k.at, i})
		} else if !t.columns[n].generated { // computed by the target itself
			rest = append(rest, n)
		}
		fromRow[n] = valueSource{false, i}
	}
	slices.Sort(rest)
	unique, refused := s.findKey(c, t, sh.keyColumns)
	if refused != nil {
		return nil, refused
	}
	if c.Op == waybill.Delete || c.Op == waybill.Truncate {
		rest = nil
	}
	op, mode := sh.treatment(unique)
	set := rest
	if op == waybill.Insert || op == waybill.Upsert {
		set = append(slices.Clone(sh.keyColumns), rest...)
		slices.Sort(set)
	}
	sh.kind = s.kindOf(groupKind{table: t, op: op, mode: mode, key: sh.keyColumns, set: set, unique: unique})
	sh.sources = sources(sh.kind, where, fromRow)
	if c.Op == waybill.Update && len(sh.rowKeys) > 0 {
		all := slices.Clone(rest)
		for _, rk := range sh.rowKeys {
			all = append(all, sh.keyColumns[rk.key])
		}
		slices.Sort(all)
		sh.rekey = s.kindOf(groupKind{table: t, op: c.Op, mode: mode, key: sh.keyColumns, set: all, unique: unique, rekey: true})
		sh.rekeySources = sources(sh.rekey, where, fromRow)
	}
	return sh, nil
}

// treatment is the operation that applies changes of the shape, and its mode.
func (sh *changeShape) treatment(unique *uniqueKey) (waybill.Op, kindMode) {
	switch {
	case !sh.fact || sh.op == waybill.Upsert:
		return sh.op, asGiven
	case !sh.lenient:
		return sh.op, asFact
	case sh.op == waybill.Insert && unique == nil:
		return sh.op, asFact
	case sh.op == waybill.Insert:
		return waybill.Upsert, countFound
	case sh.op == waybill.Update && sh.whole:
		return waybill.Upsert, countMissing
	}
	return sh.op, countMissing
}

// sources takes a column that finds the row from the key, and one that is written from the
// row, or for insert and upsert from the key where the row leaves it out.
func sources(k *groupKind, key, row map[int]valueSource) []valueSource {
	var all []valueSource
	writesKey := k.op == waybill.Insert || k.op == waybill.Upsert
	for i, n := range k.columns() {
		src, ok := key[n]
		if !ok || !writesKey && i >= len(k.key) {
			src = row[n]
		}
		all = append(all, src)
	}
	return all
}

// findKey is the unique key that changes of the table are found by; insert and truncate need none.
func (s *targetSchema) findKey(c *waybill.Change, t *targetTable, key []int) (*uniqueKey, *refusedChange) {
	op := c.Op
	sorted := slices.Clone(key)
	slices.Sort(sorted)
	unique := t.unique(sorted)
	if unique != nil || op == waybill.Insert || op == waybill.Truncate {
		return unique, nil
	}
	list := t.quoted(key)
	constraint, primary := "PRIMARY KEY", "…"
	for _, u := range t.uniques {
		if u.primary {
			constraint, primary = "UNIQUE", t.quoted(u.columns)
		}
	}
	r := &refusedChange{schema: true, reason: fmt.Sprintf("table %s.%s has no primary key or unique constraint on (%s), which %s needs",
		t.schema, t.name, list, op)}
	if t.kind == "r" || t.kind == "p" {
		r.remedy = fmt.Sprintf("ALTER TABLE %s ADD %s (%s)", t.ident(), constraint, list)
		if c.Schema != nil && len(c.Schema.Key) == 0 { // which columns these are is up to the row
			r.remedy = fmt.Sprintf("the table has no key at the source, so that its rows are told apart by all their values: give it a primary key (%s) at both sides, "+
				"or leave it out of `tables`; only if no two rows are alike and none holds a null, this is enough at the target: %s", primary, r.remedy)
		}
	}
	return nil, r
}

// kindOf interns the kind and works out the rest of it.
func (s *targetSchema) kindOf(kind groupKind) *groupKind {
	k := &kind
	t, op, key, set, unique, rekey := k.table, k.op, k.key, k.set, k.unique, k.rekey
	k.key = slices.Clone(key)
	slices.Sort(k.key)
	name := fmt.Sprint(t.oid, op, k.mode, k.key, set, rekey)
	if known := s.kinds[name]; known != nil {
		return known
	}
	k.id, k.moves, k.statements = len(s.kinds), map[*groupKind]bool{}, map[string][]*targetStatement{}
	k.keyForms = make([]knownForm, len(k.key))
	k.former = bytes.Repeat([]byte{1}, len(k.columns()))
	for _, n := range key {
		k.inexactKey = k.inexactKey || !t.columns[n].exact()
	}
	for _, u := range t.uniques {
		if unique != nil && u.columns != nil && slices.Equal(u.columns, unique.columns) && !rekey {
			continue
		}
		if op == waybill.Insert || op == waybill.Upsert || intersects(u.touched, set) || u.columns == nil {
			k.touchesUnique = true
		}
	}
	for _, n := range set {
		isKey := slices.Contains(key, n)
		k.touchesReference = k.touchesReference || t.referenced[n] && (!isKey || rekey)
	}
	if op == waybill.Upsert {
		k.twoStep = unique.deferrable || k.lacksRequired()
	}
	s.kinds[name] = k
	return k
}

// lacksRequired: the columns could not make a new row, though they can change an old one;
// INSERT … ON CONFLICT would fail before it looks for that.
func (k *groupKind) lacksRequired() bool {
	for n, c := range k.table.columns {
		if c.notNull && !c.hasDefault && !c.generated && !slices.Contains(k.set, n) {
			return true
		}
	}
	return false
}

func intersects(a, b []int) bool {
	return slices.ContainsFunc(a, func(n int) bool { return slices.Contains(b, n) })
}

// mayPass tells whether a change of kind k may be applied before changes of kind earlier that
// come before it, given that they are about other rows: the outcome is the same whatever
// the values are. In doubt it may not.
func (s *targetSchema) mayPass(k, earlier *groupKind) bool {
	may, known := k.moves[earlier]
	if !known {
		may = s.workOutPass(k, earlier)
		k.moves[earlier] = may
	}
	return may
}

func (s *targetSchema) workOutPass(k, earlier *groupKind) bool {
	if k.table.barrier || earlier.table.barrier || k.rekey || earlier.rekey {
		return false
	}
	if k.table == earlier.table {
		switch {
		case k.op == waybill.Truncate || earlier.op == waybill.Truncate: // about any rows
			return false
		case k.inexactKey || earlier.inexactKey || k.table.selfReference || !slices.Equal(k.key, earlier.key):
			return false
		case k.op == waybill.Delete: // frees unique values, takes none
			return true
		}
		return !k.touchesUnique
	}
	switch s.kin(k.table, earlier.table) {
	case strangers:
		return true
	case descendant: // the earlier one is about rows that this one may need or hold
		if k.removes() {
			return !earlier.touchesReference
		}
		return earlier.op == waybill.Update && !earlier.touchesReference
	case ancestor: // the earlier one is about rows that refer to this one's table
		return !k.removes() && !k.touchesReference
	}
	return false
}
