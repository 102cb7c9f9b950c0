package target

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-data/waybill"
	"github.com/waybill-data/waybill/internal/postgres/server"
)

// changeShape is what changes of the same entity, operation and columns have in common, and
// where in a change the values of a statement's columns stand.
type changeShape struct {
	op       waybill.Op
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
	former           []byte // how the columns of passTypes travelled last: 1 as text
}

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
	for _, sh := range s.shapes[c.Entity] {
		if sh.op == c.Op && sameNames(sh.keyNames, c.Key) && sameNames(sh.rowNames, c.Row) {
			return sh, nil
		}
	}
	sh, refused := s.newShape(c, t)
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

func (s *targetSchema) newShape(c *waybill.Change, t *targetTable) (*changeShape, *refusedChange) {
	sh := &changeShape{op: c.Op}
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
	unique, refused := s.findKey(c.Op, t, sh.keyColumns)
	if refused != nil {
		return nil, refused
	}
	if c.Op == waybill.Delete {
		rest = nil
	}
	if c.Op == waybill.Insert || c.Op == waybill.Upsert {
		rest = append(slices.Clone(sh.keyColumns), rest...)
		slices.Sort(rest)
	}
	sh.kind = s.kindOf(t, c.Op, sh.keyColumns, rest, unique, false)
	sh.sources = sources(sh.kind, where, fromRow)
	if c.Op == waybill.Update && len(sh.rowKeys) > 0 {
		all := slices.Clone(rest)
		for _, rk := range sh.rowKeys {
			all = append(all, sh.keyColumns[rk.key])
		}
		slices.Sort(all)
		sh.rekey = s.kindOf(t, c.Op, sh.keyColumns, all, unique, true)
		sh.rekeySources = sources(sh.rekey, where, fromRow)
	}
	return sh, nil
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

// findKey is the unique key that changes of the table are found by; insert needs none.
func (s *targetSchema) findKey(op waybill.Op, t *targetTable, key []int) (*uniqueKey, *refusedChange) {
	sorted := slices.Clone(key)
	slices.Sort(sorted)
	unique := t.unique(sorted)
	if unique != nil || op == waybill.Insert {
		return unique, nil
	}
	names := make([]string, len(key))
	for i, n := range key {
		names[i] = server.Quote(t.columns[n].name)
	}
	list := strings.Join(names, ", ")
	constraint := "PRIMARY KEY"
	for _, u := range t.uniques {
		if u.primary {
			constraint = "UNIQUE"
		}
	}
	r := &refusedChange{schema: true, reason: fmt.Sprintf("table %s.%s has no primary key or unique constraint on (%s), which %s needs",
		t.schema, t.name, list, op)}
	if t.kind == "r" || t.kind == "p" {
		r.remedy = fmt.Sprintf("ALTER TABLE %s ADD %s (%s)", t.ident(), constraint, list)
	}
	return nil, r
}

// kindOf interns the kind.
func (s *targetSchema) kindOf(t *targetTable, op waybill.Op, key, set []int, unique *uniqueKey, rekey bool) *groupKind {
	sorted := slices.Clone(key)
	slices.Sort(sorted)
	name := fmt.Sprint(t.oid, op, sorted, set, rekey)
	if k := s.kinds[name]; k != nil {
		return k
	}
	k := &groupKind{
		id: len(s.kinds), table: t, op: op, key: sorted, set: set, rekey: rekey, unique: unique,
		moves: map[*groupKind]bool{}, statements: map[string][]*targetStatement{},
	}
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
		if k.op == waybill.Delete {
			return !earlier.touchesReference
		}
		return earlier.op == waybill.Update && !earlier.touchesReference
	case ancestor: // the earlier one is about rows that refer to this one's table
		return k.op != waybill.Delete && !k.touchesReference
	}
	return false
}
