package test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/waybill-data/waybill/test/judge"
)

// scissors stand between the engine and a PostgreSQL server and cut a connection each time that it
// has carried so and so many bytes in one direction.
type scissors struct {
	upstream string
	down     bool // count what the server sends

	mu     sync.Mutex
	limits []int64 // of the cuts to come
	cut    int
}

// snip starts scissors in front of the database and returns them with the address to use.
func snip(t testing.TB, database string, down bool, limits ...int64) (*scissors, string) {
	t.Helper()
	upstream, through, listen := between(t, database)
	s := &scissors{upstream: upstream, down: down, limits: limits}
	listen(s.serve)
	return s, through
}

func (s *scissors) cuts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// due reports whether a connection that carried n bytes is to be cut.
func (s *scissors) due(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.limits) == 0 || n < s.limits[0] {
		return false
	}
	s.limits = s.limits[1:]
	s.cut++
	return true
}

// serve carries one connection until either side closes it or it is cut.
func (s *scissors) serve(client net.Conn) {
	server, err := net.Dial("tcp", s.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	var both sync.WaitGroup
	carry := func(to, from net.Conn, counted bool) {
		defer func() {
			_ = to.Close()
			_ = from.Close()
		}()
		buf := make([]byte, 4096)
		for n := int64(0); ; {
			got, err := from.Read(buf)
			n += int64(got)
			if counted && s.due(n) {
				return
			}
			if _, failed := to.Write(buf[:got]); err != nil || failed != nil {
				return
			}
		}
	}
	both.Go(func() { carry(client, server, s.down) })
	both.Go(func() { carry(server, client, !s.down) })
	both.Wait()
}

// TestCutInMidTransaction: the connection to the source, and then that to the target, is cut again and
// again while a large transaction is on its way. It arrives whole, and once.
func TestCutInMidTransaction(t *testing.T) {
	for name, memory := range map[string]string{
		"at once":  "64MB",
		"streamed": "64kB", // the server sends it before it is committed
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, logs[0])
			database := databaseName.FindStringSubmatch(s.from)[1]
			s.exec(s.source, fmt.Sprintf(`alter database %s set logical_decoding_work_mem = '%s'`, database, memory))
			plan := s.plan()
			// The transaction has more than 1 MB in the log, and half as much on the way to the target.
			from, fromURL := snip(t, strings.Trim(plan.source[strings.Index(plan.source, `"`):strings.LastIndex(plan.source, `"`)], `"`), true, 150_000, 400_000, 800_000)
			to, toURL := snip(t, s.targets[0].url, false, 100_000, 300_000)
			plan.source = fmt.Sprintf(`postgres: {url: %q%s}`, fromURL, changed.yaml(fromURL))
			plan.target = fmt.Sprintf(`postgres: {url: %q}`, toURL)
			s.config = s.write("state", plan)

			seen := s.watch()
			e := s.run("")
			s.carries(e)
			committed := s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 1}).Committed
			s.exec(s.source, large)
			committed += 1 + s.load(&judge.Workload{Sessions: 1, Actions: 10, Seed: 2}).Committed
			eventually(t, "everything is there", func() bool { return e.ended() || s.arrived()[0] >= s.number(s.source, `select count(*) from journal`) })
			e.signal(sigterm)
			e.want(128 + int(sigterm))
			if from.cuts() != 3 || to.cuts() != 2 {
				t.Errorf("%d cuts at the source, %d at the target", from.cuts(), to.cuts())
			}
			s.clean(committed)
			s.unseen(seen())
		})
	}
}

// large is a transaction with one action of many rows, and as many that are rolled back.
const large = `begin;
insert into journal select 999000001, 1000 + g, 1, 9990, 1 from generate_series(1, 6000) g;
savepoint thought;
insert into journal select 999000002, 1000 + g, 1, 9990, 2 from generate_series(1, 6000) g;
rollback to savepoint thought;
insert into journal select 999000001, 1000 + g, 1, 9990, 1 from generate_series(6001, 12000) g;
commit`
