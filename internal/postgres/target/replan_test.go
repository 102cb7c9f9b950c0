package target

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill"
)

// A plan that was made for a small table must not read it whole once it has grown.
func TestPlansFollowGrowth(t *testing.T) {
	r := newTarget(t, "CREATE TABLE c (id int PRIMARY KEY, v text)")
	r.exec("INSERT INTO c SELECT -i, 'a' FROM generate_series(1, 20) i; ANALYZE c")
	const rows = 3 * replanRows
	var inserts, updates, deletes []waybill.Change
	for i := range rows {
		inserts = append(inserts, tInsert("c", key(i), `{"v":"a"}`))
		updates = append(updates, tUpdate("c", key(i), `{"v":"b"}`))
		deletes = append(deletes, tDelete("c", key(i)))
	}
	for range 8 { // the plans are made, at last for any arguments
		r.write(inserts[:1], updates[:1], deletes[:1])
	}
	r.write(inserts, updates[:10], deletes[:10])
	r.write(updates[10:20], deletes[10:20])
	r.want("SELECT count(*), count(*) FILTER (WHERE v = 'a') FROM c WHERE id >= 0", fmt.Sprintf("%d|%d", rows-20, rows-20))
	for _, verb := range []string{"UPDATE", "DELETE"} {
		seen := false
		for sql, name := range r.w.link.names {
			if !strings.Contains(sql, verb+" ") || !strings.Contains(sql, "unnest") {
				continue
			}
			args := strings.Repeat(", '{1}'", strings.Count(sql[strings.Index(sql, "unnest(")+7:strings.Index(sql, ") AS u")], "$"))
			plan, err := r.w.link.conn.PgConn().Exec(r.ctx(), "EXPLAIN EXECUTE "+name+"("+args[2:]+")").ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, row := range plan[0].Rows {
				lines = append(lines, string(row[0]))
			}
			text := strings.Join(lines, "\n")
			if seen = true; !strings.Contains(text, "Index Cond: (id = u.a1)") || strings.Contains(text, "Join Filter") {
				t.Errorf("%s\n%s", sql, text)
			}
		}
		if !seen {
			t.Errorf("no %s was prepared", verb)
		}
	}
}
