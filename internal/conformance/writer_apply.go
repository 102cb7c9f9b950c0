package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

func applyRules() []writerRule {
	return []writerRule{
		{"the four operations", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(insert("customer", `{"id":1}`, `{"name":"a","email":"a@x"}`)))
			x.want(customers, "1|a|a@x|NULL")
			y.write(one(update("customer", `{"id":1}`, `{"name":"b"}`))) // email is absent: unchanged
			x.want(customers, "1|b|a@x|NULL")
			y.write(one(update("customer", `{"id":1}`, `{"email":null,"score":7}`)))
			x.want(customers, "1|b|NULL|7")
			y.write(one(upsert("customer", `{"id":1}`, `{"name":"c"}`), upsert("customer", `{"id":2}`, `{"name":"d","score":-1}`)))
			x.want(customers, "1|c|NULL|7", "2|d|NULL|-1")
			y.write(one(remove("customer", `{"id":1}`), remove("customer", `{"id":1}`), remove("customer", `{"id":77}`)))
			x.want(customers, "2|d|NULL|-1")
		}},
		{"rows of the key alone", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(insert("customer", `{"id":1}`, `{}`), upsert("customer", `{"id":2}`, `{}`), upsert("customer", `{"id":2}`, `{"id":2}`)))
			y.write(one(update("customer", `{"id":1}`, `{}`), update("customer", `{"id":2}`, `{"id":2,"name":"b"}`), upsert("customer", `{"id":2}`, `{}`)))
			x.want(customers, "1|NULL|NULL|NULL", "2|b|NULL|NULL")
		}},
		{"keys of several columns", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(insert("customer", `{"id":1}`, `{}`),
				insert("phone", `{"kind":"home","customer_id":1}`, `{"number":"1"}`),
				upsert("phone", `{"customer_id":1,"kind":"work"}`, `{"number":"2"}`),
				upsert("phone", `{"kind":"work","customer_id":1}`, `{"number":"3"}`),
				remove("phone", `{"customer_id":1,"kind":"home"}`)))
			x.want(phones, "1|work|3")
		}},
		{"awkward values", func(t *testing.T, x *target) {
			y := x.resume("me")
			x.exec(`create table "Odd ""name" ("the key" text primary key, "select" bigint, "Größe" text)`)
			y.write(one(insert(`Odd "name`, `{"the key":"it's \"☂\" \\ ; -- $1 ?"}`,
				`{"select":-9223372036854775808,"Größe":"{\"a\",NULL,'b'}\n\t\\N"}`)))
			y.write(one(upsert(`Odd "name`, `{"the key":""}`, `{"select":9223372036854775807,"Größe":"NULL"}`)))
			x.want(`select * from "Odd ""name" order by 1`, `|9223372036854775807|NULL`,
				"it's \"☂\" \\ ; -- $1 ?|-9223372036854775808|{\"a\",NULL,'b'}\n\t\\N")
		}},
		{"large values and large actions", func(t *testing.T, x *target) {
			y := x.resume("me")
			big := strings.Repeat("waybill ", 1<<17)
			y.write(one(insert("customer", `{"id":1}`, fmt.Sprintf(`{"name":%q}`, big))))
			x.want(`select length(name) from customer`, "1048576")
			changes := make([]waybill.Change, 4000)
			for i := range changes {
				changes[i] = journal(i)
			}
			y.write(one(changes...))
			x.want(`select count(*) from journal`, "4000")
		}},
		{"one key many times", func(t *testing.T, x *target) {
			chain := one(insert("customer", `{"id":1}`, `{"name":"a","score":1}`), update("customer", `{"id":1}`, `{"name":"b"}`),
				remove("customer", `{"id":1}`), insert("customer", `{"id":1}`, `{"name":"c"}`), upsert("customer", `{"id":1}`, `{"email":"e"}`))
			y := x.resume("me")
			y.write(chain) // in one action
			x.want(customers, "1|c|e|NULL")
			y.write(one(remove("customer", `{"id":1}`)))
			y.write(chain[:1], chain[1:2], chain[2:3], chain[3:4], chain[4:]) // in one batch
			x.want(customers, "1|c|e|NULL")
			y.write(one(remove("customer", `{"id":1}`)))
			for i := range chain { // in batches of their own
				y.write(chain[i : i+1])
			}
			x.want(customers, "1|c|e|NULL")
		}},
		{"keys that change", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(insert("customer", `{"id":1}`, `{"name":"a"}`), insert("customer", `{"id":2}`, `{"name":"b"}`)))
			y.write(one( // each takes the place that the one before left
				update("customer", `{"id":2}`, `{"id":3}`),
				update("customer", `{"id":1}`, `{"id":2,"score":5}`),
				insert("customer", `{"id":1}`, `{"name":"new"}`)))
			x.want(customers, "1|new|NULL|NULL", "2|a|NULL|5", "3|b|NULL|NULL")
			y.write(one(update("customer", `{"id":2}`, `{"id":4}`)), one(update("customer", `{"id":4}`, `{"id":2}`)), one(remove("customer", `{"id":4}`)))
			x.want(customers, "1|new|NULL|NULL", "2|a|NULL|5", "3|b|NULL|NULL")
		}},
		{"unique values that change hands", func(t *testing.T, x *target) {
			y := x.resume("me")
			y.write(one(insert("customer", `{"id":1}`, `{"email":"x"}`), insert("customer", `{"id":2}`, `{"email":"y"}`)))
			y.write(one( // swapped through null
				update("customer", `{"id":1}`, `{"email":null}`),
				update("customer", `{"id":2}`, `{"email":"x"}`),
				update("customer", `{"id":1}`, `{"email":"y"}`)))
			x.want(customers, "1|NULL|y|NULL", "2|NULL|x|NULL")
			y.write( // handed on in later actions of one batch, against the order of keys
				one(upsert("customer", `{"id":2}`, `{"email":"z"}`)), one(upsert("customer", `{"id":1}`, `{"email":"x"}`)),
				one(upsert("customer", `{"id":3}`, `{"email":"y"}`)), one(remove("customer", `{"id":3}`)),
				one(insert("customer", `{"id":0}`, `{"email":"y"}`)))
			x.want(customers, "0|NULL|y|NULL", "1|NULL|x|NULL", "2|NULL|z|NULL")
		}},
		{"parents and children", func(t *testing.T, x *target) {
			y := x.resume("me")
			family := func(n string) []waybill.Change {
				return one(insert("customer", `{"id":`+n+`}`, `{"name":"`+n+`"}`),
					insert("phone", `{"customer_id":`+n+`,"kind":"home"}`, `{"number":"`+n+`"}`))
			}
			y.write(family("2"), family("1"), family("3"))
			x.want(phones, "1|home|1", "2|home|2", "3|home|3")
			gone := one(remove("phone", `{"customer_id":2,"kind":"home"}`), remove("customer", `{"id":2}`))
			y.write(gone, family("2"), gone, family("2"), // gone and back, twice
				one(update("phone", `{"customer_id":1,"kind":"home"}`, `{"customer_id":3,"kind":"work"}`), remove("customer", `{"id":1}`)))
			x.want(phones, "2|home|2", "3|home|3", "3|work|1")
			x.want(customers, "2|2|NULL|NULL", "3|3|NULL|NULL")
		}},
		{"rows of a parent go", func(t *testing.T, x *target) {
			y := x.resume("me")
			replace := func(n string, kinds ...string) []waybill.Change {
				changes := one(clearRows("phone", `{"customer_id":`+n+`}`), upsert("customer", `{"id":`+n+`}`, `{"name":"n`+n+`"}`))
				for i, kind := range kinds {
					changes = append(changes, upsert("phone", `{"customer_id":`+n+`,"kind":"`+kind+`"}`, fmt.Sprintf(`{"number":"%d"}`, i)))
				}
				return changes
			}
			y.write(replace("1", "home", "work"), replace("2", "home"), replace("3")) // none was there
			x.want(phones, "1|home|0", "1|work|1", "2|home|0")
			y.write(replace("1", "work", "car"), replace("2"), replace("3", "home"), replace("1", "car", "sea"), replace("3", "work"))
			x.want(phones, "1|car|0", "1|sea|1", "3|work|0")
			y.write(one(clearRows("phone", `{"customer_id":1}`), remove("customer", `{"id":1}`)),
				one(clearRows("phone", `{"customer_id":2}`), remove("customer", `{"id":2}`)), replace("1", "air"))
			x.want(phones, "1|air|0", "3|work|0")
			x.want(`select id from customer order by id`, "1", "3")
			y.write(one( // a row that goes and comes back, and one that joins another parent
				insert("phone", `{"customer_id":1,"kind":"x"}`, `{"number":"1"}`), clearRows("phone", `{"customer_id":1}`),
				insert("phone", `{"customer_id":1,"kind":"x"}`, `{"number":"2"}`), update("phone", `{"customer_id":3,"kind":"work"}`, `{"customer_id":1}`),
				clearRows("phone", `{"customer_id":3}`)))
			x.want(phones, "1|work|0", "1|x|2")
			y.write(one(clearRows("phone", `{"kind":"x","number":"2"}`), clearRows("phone", `{"number":"7"}`)))
			x.want(phones, "1|work|0")
			y.write(one(clearRows("phone", `{}`)))
			x.want(phones)
		}},
		{"any order of anything", randomHistory},
	}
}
