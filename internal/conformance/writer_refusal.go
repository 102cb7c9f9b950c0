package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// refused lists changes that the target will never take, given customers 1 (x) and 2 (y)
// and a phone of customer 1.
var refused = []struct {
	name   string
	change func() waybill.Change
	key    string
}{
	{"insert of a key that exists", func() waybill.Change { return insert("customer", `{"id":1}`, `{"name":"other"}`) }, "1"},
	{"update of a key that is missing", func() waybill.Change { return update("customer", `{"id":77}`, `{"name":"other"}`) }, "77"},
	{"update of a key that is missing, nothing to set", func() waybill.Change { return update("customer", `{"id":77}`, `{}`) }, "77"},
	{"key changed to one that exists", func() waybill.Change { return update("customer", `{"id":2}`, `{"id":1}`) }, "2"},
	{"unique value taken", func() waybill.Change { return upsert("customer", `{"id":2}`, `{"email":"x"}`) }, "2"},
	{"unique value taken by a new row", func() waybill.Change { return insert("customer", `{"id":3}`, `{"email":"x"}`) }, "3"},
	{"check violated", func() waybill.Change { return update("customer", `{"id":2}`, `{"score":100}`) }, "2"},
	{"parent missing", func() waybill.Change { return insert("phone", `{"customer_id":77,"kind":"home"}`, `{"number":"1"}`) }, "77"},
	{"parent deleted before its child", func() waybill.Change { return remove("customer", `{"id":1}`) }, "1"},
	{"null where none may be", func() waybill.Change { return update("phone", `{"customer_id":1,"kind":"home"}`, `{"number":null}`) }, "home"},
	{"column missing that must be", func() waybill.Change { return insert("phone", `{"customer_id":2,"kind":"home"}`, `{}`) }, "home"},
	{"unknown column", func() waybill.Change { return upsert("customer", `{"id":2}`, `{"nosuch":1}`) }, "2"},
	{"unknown column set to null", func() waybill.Change { return update("customer", `{"id":2}`, `{"nosuch":null}`) }, "2"},
	{"unknown key column", func() waybill.Change { return upsert("customer", `{"nosuch":2}`, `{"name":"a"}`) }, "2"},
	{"unknown key column of a delete", func() waybill.Change { return remove("customer", `{"nosuch":2}`) }, "2"},
	{"unknown table", func() waybill.Change { return upsert("nosuch", `{"id":2}`, `{"name":"a"}`) }, "2"},
	{"unknown table of a delete", func() waybill.Change { return remove("nosuch", `{"id":2}`) }, "2"},
	{"upsert by what is no key", func() waybill.Change { return upsert("customer", `{"name":"a"}`, `{"id":9}`) }, "a"},
}

func refusalRules() []writerRule {
	var rules []writerRule
	for _, c := range refused {
		rules = append(rules, writerRule{"refused: " + c.name, func(t *testing.T, x *target) {
			refusal := x.refuse(t, one(c.change()))
			if refusal.Entity != c.change().Entity || !strings.Contains(refusal.Key, c.key) {
				t.Errorf("the refusal names entity %q and key %q, want %q and %q", refusal.Entity, refusal.Key, c.change().Entity, c.key)
			}
			if refusal.Action != "action-3" || refusal.Seq != 3 {
				t.Errorf("the refusal names action %q, number %d; want action-3, 3", refusal.Action, refusal.Seq)
			}
		}})
	}
	return append(rules, writerRule{"refused: the last change of a large action", func(t *testing.T, x *target) {
		var changes []waybill.Change
		for i := range 3000 {
			changes = append(changes, journal(1000+i))
		}
		x.refuse(t, append(changes, insert("customer", `{"id":1}`, `{}`)))
	}}, writerRule{"refused: what an earlier action of the batch made wrong", func(t *testing.T, x *target) {
		y := x.resume("me")
		err := y.try(one(insert("customer", `{"id":5}`, `{}`)), one(remove("customer", `{"id":5}`)), one(update("customer", `{"id":5}`, `{"name":"a"}`)))
		var refusal *waybill.Refusal
		if !errors.As(err, &refusal) || refusal.Seq != 3 || refusal.Action != "action-3" {
			t.Fatalf("Write: %v, want a *Refusal of action-3", err)
		}
		x.want(customers)
	}})
}

// refuse writes a batch whose last action is bad. It must be refused as a whole and leave
// nothing, and the good actions must be taken afterwards.
func (x *target) refuse(t *testing.T, bad []waybill.Change) *waybill.Refusal {
	t.Helper()
	y := x.resume("me")
	y.write(one(insert("customer", `{"id":1}`, `{"email":"x"}`), insert("customer", `{"id":2}`, `{"email":"y"}`),
		insert("phone", `{"customer_id":1,"kind":"home"}`, `{"number":"1"}`)))
	state := func() string {
		return strings.Join(append(append(x.rows(customers), x.rows(phones)...), x.position(stream)), "\n")
	}
	before := state()
	good := one(insert("customer", `{"id":10}`, `{"email":"z"}`), journal(1))
	err := y.try(good, bad)
	var refusal *waybill.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("Write: %v, want a *Refusal", err)
	}
	if waybill.Transient(err) || refusal.Reason == "" {
		t.Fatalf("refusal is transient or gives no reason: %v", err)
	}
	if after := state(); after != before {
		t.Fatalf("the refusal left something behind:\nbefore %s\nafter  %s", before, after)
	}
	x.want(`select count(*) from journal`, "0")
	if at, err := y.resume(stream); err != nil || at != y.at {
		t.Fatalf("Resume after a refusal: %q, %v; want %q", at, err, y.at)
	}
	y.write(good)
	x.want(`select count(*) from journal`, "1")
	return refusal
}
