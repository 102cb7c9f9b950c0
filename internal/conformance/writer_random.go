package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// world is a model of the two tables: what they must hold after a history, worked out
// without SQL. A customer's absent email is "".
type world struct {
	rng       *rand.Rand
	customers map[int]person
	phones    map[[2]int]int // customer, kind → number
}

type person struct{ name, email string }

// randomHistory writes random valid actions in random batches and compares the target with
// the model after each batch. Few keys, so that they meet often.
func randomHistory(t *testing.T, x *target) {
	for seed := range uint64(4) {
		x.exec(`delete from phone`)
		x.exec(`delete from customer`)
		w := &world{rng: rand.New(rand.NewPCG(seed, 1)), customers: map[int]person{}, phones: map[[2]int]int{}}
		y := x.resume("me")
		for range 12 {
			actions := make([][]waybill.Change, 1+w.rng.IntN(30))
			for i := range actions {
				for range w.rng.IntN(6) {
					actions[i] = append(actions[i], w.step()...)
				}
			}
			y.write(actions...)
			x.want(`select id, name, email from customer order by id`, w.customerRows()...)
			x.want(`select customer_id, kind, number from phone order by customer_id, kind`, w.phoneRows()...)
		}
		y.close()
	}
}

// step makes one valid change, or none.
func (w *world) step() []waybill.Change {
	id, n := w.rng.IntN(6), w.rng.IntN(1000)
	old, exists := w.customers[id]
	email := fmt.Sprintf("e%d", w.rng.IntN(5))
	if w.taken(email, id) {
		email = ""
	}
	key := fmt.Sprintf(`{"id":%d}`, id)
	switch w.rng.IntN(9) {
	case 0, 1:
		if exists {
			w.customers[id] = person{fmt.Sprint(n), old.email}
			return one(update("customer", key, fmt.Sprintf(`{"name":"%d"}`, n)))
		}
		w.customers[id] = person{fmt.Sprint(n), email}
		return one(insert("customer", key, fmt.Sprintf(`{"name":"%d","email":%s}`, n, quoted(email))))
	case 2:
		w.customers[id] = person{old.name, email}
		if !exists {
			w.customers[id] = person{"u", email}
		}
		return one(upsert("customer", key, fmt.Sprintf(`{"name":"%s","email":%s}`, w.customers[id].name, quoted(email))))
	case 3:
		return w.removeCustomer(id, key)
	case 4:
		return w.move(id, w.rng.IntN(6), key)
	case 5:
		return w.hand(id, w.rng.IntN(6))
	case 6:
		return append(w.clear(id), w.phone(id, w.rng.IntN(2), n)...)
	default:
		return w.phone(id, w.rng.IntN(2), n)
	}
}

func (w *world) taken(email string, by int) bool {
	for id, c := range w.customers {
		if id != by && c.email == email {
			return true
		}
	}
	return false
}

// clear removes all phones of a customer.
func (w *world) clear(id int) []waybill.Change {
	for kind := range 2 {
		delete(w.phones, [2]int{id, kind})
	}
	return one(clearRows("phone", fmt.Sprintf(`{"customer_id":%d}`, id)))
}

func (w *world) removeCustomer(id int, key string) []waybill.Change {
	if w.rng.IntN(2) == 0 {
		delete(w.customers, id)
		return append(w.clear(id), remove("customer", key))
	}
	var changes []waybill.Change
	for kind := range 2 {
		if _, ok := w.phones[[2]int{id, kind}]; ok {
			changes = append(changes, remove("phone", phoneKey(id, kind)))
			delete(w.phones, [2]int{id, kind})
		}
	}
	delete(w.customers, id)
	return append(changes, remove("customer", key))
}

// move changes the key of a customer without phones.
func (w *world) move(id, to int, key string) []waybill.Change {
	c, exists := w.customers[id]
	_, there := w.customers[to]
	if !exists || there && to != id {
		return nil
	}
	for kind := range 2 {
		if _, ok := w.phones[[2]int{id, kind}]; ok {
			return nil
		}
	}
	delete(w.customers, id)
	w.customers[to] = c
	return one(update("customer", key, fmt.Sprintf(`{"id":%d}`, to)))
}

// hand gives one customer's email to another.
func (w *world) hand(from, to int) []waybill.Change {
	a, ok := w.customers[from]
	b, also := w.customers[to]
	if !ok || !also || from == to {
		return nil
	}
	w.customers[from], w.customers[to] = person{a.name, b.email}, person{b.name, a.email}
	return one(
		update("customer", fmt.Sprintf(`{"id":%d}`, from), `{"email":null}`),
		upsert("customer", fmt.Sprintf(`{"id":%d}`, to), fmt.Sprintf(`{"name":%q,"email":%s}`, b.name, quoted(a.email))),
		update("customer", fmt.Sprintf(`{"id":%d}`, from), fmt.Sprintf(`{"email":%s}`, quoted(b.email))))
}

func (w *world) phone(id, kind, n int) []waybill.Change {
	key := phoneKey(id, kind)
	_, exists := w.phones[[2]int{id, kind}]
	if _, ok := w.customers[id]; !ok || exists && w.rng.IntN(3) == 0 {
		delete(w.phones, [2]int{id, kind})
		return one(remove("phone", key))
	}
	w.phones[[2]int{id, kind}] = n
	row := fmt.Sprintf(`{"number":"%d"}`, n)
	switch {
	case w.rng.IntN(2) == 0:
		return one(upsert("phone", key, row))
	case exists:
		return one(update("phone", key, row))
	}
	return one(insert("phone", key, row))
}

func phoneKey(id, kind int) string { return fmt.Sprintf(`{"customer_id":%d,"kind":"%d"}`, id, kind) }

func quoted(s string) string {
	if s == "" {
		return "null"
	}
	return `"` + s + `"`
}

func (w *world) customerRows() []string {
	rows := []string{}
	for id, c := range w.customers {
		rows = append(rows, fmt.Sprintf("%d|%s|%s", id, c.name, strings.ReplaceAll(strings.Trim(quoted(c.email), `"`), "null", "NULL")))
	}
	slices.Sort(rows)
	return rows
}

func (w *world) phoneRows() []string {
	rows := []string{}
	for k, n := range w.phones {
		rows = append(rows, fmt.Sprintf("%d|%d|%d", k[0], k[1], n))
	}
	slices.Sort(rows)
	return rows
}
