package target

import (
	"slices"

	"github.com/waybill-data/waybill"
)

// Bounds of a plan. A batch that is larger is applied in several plans, in one transaction.
const (
	planChanges = 16384
	planBytes   = 8 << 20
	// groupChanges bounds one statement.
	groupChanges = 2000
	// lookBack is how many groups a change may pass.
	lookBack = 64
)

// plannedChange is a change with its place in the batch.
type plannedChange struct {
	*waybill.Change
	shape  *changeShape
	rekey  bool
	action int // index in the batch
}

func (c *plannedChange) kind() *groupKind {
	if c.rekey {
		return c.shape.rekey
	}
	return c.shape.kind
}

func (c *plannedChange) sources() []valueSource {
	if c.rekey {
		return c.shape.rekeySources
	}
	return c.shape.sources
}

// value is what c holds for one of its kind's columns.
func (c *plannedChange) value(src valueSource) waybill.Value {
	if src.fromKey {
		return c.Key[src.at].Value
	}
	return c.Row[src.at].Value
}

// changeGroup is changes that one statement applies. Within it all keys differ, as far as
// their bytes tell.
type changeGroup struct {
	kind  *groupKind
	items []int // indices into applyPlan.changes
	bytes int
}

// applyPlan sorts changes into groups, so that applying the groups in order has the same
// outcome as applying the changes in order, constraints on states in between aside.
type applyPlan struct {
	schema  *targetSchema
	changes []plannedChange
	groups  []*changeGroup
	tables  map[*targetTable]*tablePlan
	size    int
	// single makes a group of every change, for finding out which one is refused.
	single     bool
	deferrable bool // some table has constraints that can be checked at commit
	spare      []*changeGroup
	scratch    []byte
	copies     []waybill.Change // of changes that an iterator yielded
	// What the latest change met: the next one is mostly alike.
	schemaOf *waybill.Schema
	shapeOf  *changeShape
	kindOf   *groupKind
	tableOf  *tablePlan // of kindOf
	openOf   int        // the latest group of kindOf, -1: none
}

// tablePlan is what a plan holds about one table.
type tablePlan struct {
	last keyIndex           // where the latest change of each key is
	open map[*groupKind]int // the latest group of each kind
	// doubtful: some key was written in a way that its bytes do not identify it.
	doubtful bool
}

func newApplyPlan(s *targetSchema) *applyPlan {
	return &applyPlan{schema: s, tables: map[*targetTable]*tablePlan{}}
}

// reset empties the plan for the next changes, keeping its memory.
func (p *applyPlan) reset() {
	clear(p.changes)
	p.changes = p.changes[:0]
	clear(p.copies)
	p.copies = p.copies[:0]
	p.schemaOf, p.shapeOf, p.kindOf, p.tableOf = nil, nil, nil, nil
	for _, g := range p.groups {
		g.kind, g.items, g.bytes = nil, g.items[:0], 0
	}
	p.spare = append(p.spare, p.groups...)
	if len(p.spare) > 4*lookBack {
		p.spare = p.spare[:4*lookBack]
	}
	p.groups, p.size, p.deferrable = p.groups[:0], 0, false
	for _, tp := range p.tables {
		tp.last.clear()
		clear(tp.open)
		tp.doubtful = false
	}
}

func (p *applyPlan) full() bool { return len(p.changes) >= planChanges || p.size >= planBytes }

// keep copies a change that whoever yielded it may use again.
func (p *applyPlan) keep(c *waybill.Change) *waybill.Change {
	if len(p.copies) == cap(p.copies) { // those before stay where they are
		p.copies = make([]waybill.Change, 0, min(max(256, 2*cap(p.copies)), planChanges))
	}
	p.copies = append(p.copies, *c)
	return &p.copies[len(p.copies)-1]
}

// add appends a change whose table is known. The change must stay as it is until the plan is reset.
func (p *applyPlan) add(c *waybill.Change, t *targetTable, action int) *refusedChange {
	shape, refused := p.schema.shape(c, t)
	if refused != nil {
		return refused
	}
	p.schemaOf, p.shapeOf = c.Schema, shape
	return p.addShaped(c, shape, action)
}

// alike is the shape of the change before if it is that of c, too; else nil.
func (p *applyPlan) alike(c *waybill.Change) *changeShape {
	sh := p.shapeOf
	if sh == nil || p.schema.lenient || sh.op != c.Op || p.schemaOf != c.Schema || sh.entity != c.Entity ||
		!sameNames(sh.rowNames, c.Row) || !sameNames(sh.keyNames, c.Key) {
		return nil
	}
	return sh
}

func (p *applyPlan) addShaped(c *waybill.Change, shape *changeShape, action int) *refusedChange {
	pc := plannedChange{Change: c, shape: shape, action: action}
	for _, rk := range shape.rowKeys {
		if !sameValue(c.Key[rk.key].Value, c.Row[rk.row].Value) {
			if c.Op != waybill.Update {
				return &refusedChange{reason: "column " + c.Row[rk.row].Name + " of its row is not the same as in its key"}
			}
			pc.rekey = true
		}
	}
	// A captured row of a table without a key is named by all that it holds.
	named := c.Op == waybill.Insert && c.Schema != nil && len(c.Schema.Key) == 0
	for i := range c.Key {
		if c.Key[i].Value.IsNull() && !named {
			return &refusedChange{reason: "column " + c.Key[i].Name + " of its key is null"}
		}
	}
	p.changes = append(p.changes, pc)
	size := c.Key.Size() + c.Row.Size()
	p.size += size
	p.deferrable = p.deferrable || shape.kind.table.deferrable
	p.assign(len(p.changes)-1, size)
	if pc.rekey && shape.whole {
		return p.add(moved(c, shape), shape.kind.table, action)
	}
	return nil
}

// moved is the row under its new key, for where there was none under the old one.
func moved(c *waybill.Change, shape *changeShape) *waybill.Change {
	key := slices.Clone(c.Key)
	for _, rk := range shape.rowKeys {
		key[rk.key].Value = c.Row[rk.row].Value
	}
	return &waybill.Change{Entity: c.Entity, Op: waybill.Upsert, Key: key, Row: c.Row}
}

// assign puts the change into a group.
func (p *applyPlan) assign(index, size int) {
	c := &p.changes[index]
	kind := c.kind()
	if p.single {
		g := p.newGroup(kind)
		g.items, g.bytes = append(g.items, index), size
		return
	}
	if kind != p.kindOf {
		p.turnTo(kind)
	}
	tp := p.tableOf
	key, certain := p.keyBytes(c)
	if !certain {
		tp.doubtful = true
	}
	last, seen := tp.last.find(key)
	former, at := *last, p.openOf
	if at >= 0 && p.mayJoin(kind, at, tp, former, seen) {
		g := p.groups[at]
		switch {
		case seen && former.group == at && p.sameDigits(&p.changes[g.items[former.slot]], c):
			g.items[former.slot] = index // the last one wins; the columns are the same
			return
		case seen && former.group == at: // in a group of its own
		case len(g.items) < kind.most() && g.bytes < planBytes/4:
			g.items, g.bytes = append(g.items, index), g.bytes+size
			*last = place{at, len(g.items) - 1}
			return
		}
	}
	g := p.newGroup(kind)
	g.items, g.bytes = append(g.items, index), size
	p.openOf = len(p.groups) - 1
	tp.open[kind] = p.openOf
	*last = place{p.openOf, 0}
	if kind.rekey {
		// The row has two keys in this statement; the other one is not in last.
		tp.doubtful = true
	}
}

// turnTo makes kind the latest.
func (p *applyPlan) turnTo(kind *groupKind) {
	tp := p.tables[kind.table]
	if tp == nil {
		tp = &tablePlan{last: newKeyIndex(), open: map[*groupKind]int{}}
		p.tables[kind.table] = tp
	}
	at, ok := tp.open[kind]
	if !ok {
		at = -1
	}
	p.kindOf, p.tableOf, p.openOf = kind, tp, at
}

// most is how many changes one statement applies.
func (k *groupKind) most() int {
	if k.mayCopy() {
		return planChanges
	}
	return groupChanges
}

// mayJoin tells whether a change of the kind can go into group at, passing those after it.
func (p *applyPlan) mayJoin(kind *groupKind, at int, tp *tablePlan, former place, seen bool) bool {
	if seen && former.group > at || kind.rekey || len(p.groups)-at > lookBack {
		return false
	}
	if seen && former.group == at {
		// A second insert must fail; triggers must see both updates.
		if kind.op == waybill.Insert || kind.table.barrier || kind.inexactKey || tp.doubtful {
			return false
		}
	}
	for _, g := range p.groups[at+1:] {
		if tp.doubtful && g.kind.table == kind.table || !p.schema.mayPass(kind, g.kind) {
			return false
		}
	}
	return true
}

func (p *applyPlan) newGroup(kind *groupKind) *changeGroup {
	var g *changeGroup
	if n := len(p.spare); n > 0 {
		g, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		g = &changeGroup{}
	}
	g.kind = kind
	p.groups = append(p.groups, g)
	return g
}

// keyBytes identifies the row that a change is about. Not certain: another key may be about
// the same row though its bytes differ.
func (p *applyPlan) keyBytes(c *plannedChange) (key []byte, certain bool) {
	key, certain = p.scratch[:0], true
	kind := c.kind()
	for i, n := range kind.key {
		v := c.value(p.keySource(c, kind, i, n))
		start := len(key)
		key = append(key, 0, 0, 0, 0)
		if v.IsNull() { // of a row without a key
			putLength(key[start:], -1)
			continue
		}
		var ok bool
		if kind.keyForms[i].asItIs(v, &kind.table.columns[n], (*targetColumn).ownKey) {
			key = append(key, v.Raw...)
		} else if key, ok = appendKeyValue(key, &kind.table.columns[n], v); !ok {
			key = append(key[:start+4], v.Raw...)
			certain = false
		}
		putLength(key[start:], len(key)-start-4)
	}
	p.scratch = key
	return key, certain
}

// sameDigits tells whether two changes of equal keys write a numeric key with the same digits: of
// 1 and 1.0, the row keeps what it was made with.
func (p *applyPlan) sameDigits(a, b *plannedChange) bool {
	for i, n := range a.kind().key {
		if a.kind().table.columns[n].base == oidNumeric && !sameValue(
			a.value(p.keySource(a, a.kind(), i, n)), b.value(p.keySource(b, b.kind(), i, n))) {
			return false
		}
	}
	return true
}

// keySource finds column n of the key in a change.
func (p *applyPlan) keySource(c *plannedChange, kind *groupKind, i, n int) valueSource {
	if kind.op == waybill.Update || kind.op == waybill.Delete {
		return c.sources()[i]
	}
	for j, col := range c.shape.keyColumns {
		if col == n {
			return valueSource{true, j}
		}
	}
	return valueSource{}
}

// arrange moves groups that add rows before those that add rows which refer to them, and
// groups that delete rows before those that delete what they refer to, where that cannot
// change the outcome. A source whose constraints are checked at commit may write in any order.
func (p *applyPlan) arrange(from int) {
	groups := p.groups[from:]
	if len(groups) < 2 || len(groups) > 1024 || len(p.schema.refs) == 0 {
		return
	}
	for i := 1; i < len(groups); i++ {
		g, to := groups[i], i
		for j := i - 1; j >= 0; j-- {
			earlier := groups[j]
			if earlier.kind.table == g.kind.table || !p.schema.mayPass(g.kind, earlier.kind) {
				break
			}
			if p.schema.goesFirst(g.kind, earlier.kind) {
				to = j
			}
		}
		if to < i {
			copy(groups[to+1:i+1], groups[to:i])
			groups[to] = g
		}
	}
}

func (k *groupKind) removes() bool { return k.op == waybill.Delete || k.op == waybill.Truncate }

// goesFirst tells whether foreign keys ask for a before b.
func (s *targetSchema) goesFirst(a, b *groupKind) bool {
	switch s.kin(a.table, b.table) {
	case ancestor:
		return !a.removes() && !b.removes()
	case descendant:
		return a.removes() && b.removes()
	default:
		return false
	}
}
