package pgoutput

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waybill-data/waybill/internal/testenv"
)

// feed is a replication connection to a real server.
type feed struct {
	conn  *pgconn.PgConn
	dec   Decoder
	names map[uint32]string
}

func startFeed(t *testing.T, url, slot, options string) *feed {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url+"&replication=database")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	conn.Frontend().Send(&pgproto3.Query{String: "START_REPLICATION SLOT " + slot + " LOGICAL 0/0 (publication_names 'all_of_it', " + options + ")"})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	f := &feed{conn: conn, names: map[uint32]string{}}
	for {
		switch m := f.receive(t).(type) {
		case *pgproto3.CopyBothResponse:
			return f
		case *pgproto3.ErrorResponse:
			t.Fatalf("start replication: %s", m.Message)
		}
	}
}

func (f *feed) receive(t *testing.T) pgproto3.BackendMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := f.conn.ReceiveMessage(ctx)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return m
}

// next is the next message of the plug-in; keepalives are answered.
func (f *feed) next(t *testing.T) Message {
	t.Helper()
	for {
		copied, ok := f.receive(t).(*pgproto3.CopyData)
		if !ok {
			continue
		}
		frame, err := ParseFrame(copied.Data)
		if err != nil {
			t.Fatal(err)
		}
		if since := time.Since(frame.Time); since < -time.Minute || since > time.Minute {
			t.Errorf("the server's clock is %v off", since)
		}
		if frame.Kind == FrameKeepalive {
			f.conn.Frontend().Send(&pgproto3.CopyData{Data: AppendStatus(nil, frame.End, 0, 0, time.Now(), false)})
			if err := f.conn.Frontend().Flush(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m, err := f.dec.Decode(frame.Data)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// show writes a message as a line, without what differs from run to run.
func (f *feed) show(m Message) string {
	switch m := m.(type) {
	case *Relation:
		f.names[m.ID] = m.Name
		var columns []string
		for _, c := range m.Columns {
			columns = append(columns, c.Name+map[bool]string{true: "*"}[c.Key])
		}
		return fmt.Sprintf("relation %s.%s %c: %s", m.Namespace, m.Name, m.Identity, strings.Join(columns, " "))
	case *TypeName:
		return "type " + m.Namespace + "." + m.Name
	case *Insert:
		return "insert " + f.names[m.Relation] + " " + row(m.New)
	case *Update:
		if m.OldKind == 0 {
			return "update " + f.names[m.Relation] + " to " + row(m.New)
		}
		return fmt.Sprintf("update %s %c %s to %s", f.names[m.Relation], m.OldKind, row(m.Old), row(m.New))
	case *Delete:
		return fmt.Sprintf("delete %s %c %s", f.names[m.Relation], m.OldKind, row(m.Old))
	case *Truncate:
		var names []string
		for _, r := range m.Relations {
			names = append(names, f.names[r])
		}
		return fmt.Sprintf("truncate %s, cascade %v, restart %v", strings.Join(names, " "), m.Cascade, m.RestartIdentity)
	case *LogicalMessage:
		return fmt.Sprintf("message %v %s %s", m.Transactional, m.Prefix, m.Content)
	case *Origin:
		return "origin " + m.Name
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgoutput."))
}

func row(row []Datum) string {
	var out []string
	for _, d := range row {
		switch {
		case d.Kind == 'n' || d.Kind == 'u':
			out = append(out, string(d.Kind))
		case len(d.Data) > 100:
			out = append(out, fmt.Sprintf("%c:%d bytes", d.Kind, len(d.Data)))
		default:
			out = append(out, fmt.Sprintf("%c:%q", d.Kind, d.Data))
		}
	}
	return "(" + strings.Join(out, " ") + ")"
}

const serverSchema = `create type mood as enum ('sad', 'happy');
create table customer (id int primary key, mood mood, name text, big text);
alter table customer alter big set storage external;
create table whole (a int, b text);
alter table whole replica identity full;
create table bulk (id int primary key, filler text);
create table aside (id int);
create publication all_of_it for table customer, whole, bulk`

func TestServerChanges(t *testing.T) {
	url := testenv.NewCluster(t, "wal_level=logical", "fsync=off").URL("postgres")
	testenv.Exec(t, url, serverSchema)
	testenv.Exec(t, url, `select pg_create_logical_replication_slot('in_text', 'pgoutput'), pg_create_logical_replication_slot('in_binary', 'pgoutput')`)
	// One transaction: what a simple query holds.
	testenv.Exec(t, url, `select pg_logical_emit_message(false, 'loose', 'alone');
insert into customer values (1, 'happy', '', repeat('x', 5000));
update customer set name = null where id = 1;
update customer set id = 2 where id = 1;
delete from customer where id = 2;
insert into whole values (1, null);
update whole set b = 'é';
delete from whole;
select pg_logical_emit_message(true, 'waybill', '[]');
truncate customer, whole restart identity cascade`)

	want := []string{
		"message false loose alone", "begin",
		"type public.mood", "relation public.customer d: id* mood name big",
		`insert customer (t:"1" t:"happy" t:"" t:5000 bytes)`,
		`update customer to (t:"1" t:"happy" n u)`,
		`update customer K (t:"1" n n n) to (t:"2" t:"happy" n u)`,
		`delete customer K (t:"2" n n n)`,
		"relation public.whole f: a* b*",
		`insert whole (t:"1" n)`,
		`update whole O (t:"1" n) to (t:"1" t:"é")`,
		`delete whole O (t:"1" t:"é")`,
		"message true waybill []",
		// Truncating gives a table a new file, and so its description is sent again.
		"type public.mood", "relation public.customer d: id* mood name big", "relation public.whole f: a* b*",
		"truncate customer whole, cascade true, restart true",
		"commit",
	}
	t.Run("text", func(t *testing.T) {
		checkChanges(t, startFeed(t, url, "in_text", "proto_version '1', messages 'true'"), want)
	})
	t.Run("binary", func(t *testing.T) {
		binary := slices.Clone(want)
		for i, line := range binary {
			line = strings.ReplaceAll(line, `t:"1"`, `b:"\x00\x00\x00\x01"`)
			line = strings.ReplaceAll(line, `t:"2"`, `b:"\x00\x00\x00\x02"`)
			line = strings.ReplaceAll(line, `t:5000`, `b:5000`)
			binary[i] = strings.ReplaceAll(line, `t:"`, `b:"`)
		}
		checkChanges(t, startFeed(t, url, "in_binary", "proto_version '1', messages 'true', binary 'true'"), binary)
	})
}

func checkChanges(t *testing.T, f *feed, want []string) {
	t.Helper()
	var begin Begin
	for i, line := range want {
		m := f.next(t)
		if got := f.show(m); got != line {
			t.Fatalf("message %d\ngot  %s\nwant %s", i, got, line)
		}
		switch m := m.(type) {
		case *Begin:
			begin = *m
		case *Commit:
			if m.LSN != begin.FinalLSN || m.End <= m.LSN || !m.Time.Equal(begin.Time) || begin.XID == 0 {
				t.Errorf("begin %+v, commit %+v", begin, *m)
			}
		}
	}
}

// streamed gathers what stream blocks hold, by (sub)transaction.
type streamed struct {
	rows     map[uint32]int
	messages []string
	top      uint32
	aborted  map[uint32]bool
}

// until reads until done says so.
func (s *streamed) until(t *testing.T, f *feed, done func(Message) bool) {
	t.Helper()
	for {
		m := f.next(t)
		switch m := m.(type) {
		case *StreamStart:
			if m.First != (s.top != m.XID) {
				t.Errorf("block of %d, first %v, after one of %d", m.XID, m.First, s.top)
			}
			s.top = m.XID
		case *Insert:
			s.rows[m.XID]++
		case *LogicalMessage:
			if m.XID == 0 {
				t.Errorf("a message in a stream block has no transaction")
			}
			s.messages = append(s.messages, m.Prefix+" "+string(m.Content))
		case *StreamAbort:
			if m.XID != s.top || m.LSN != 0 || !m.Time.IsZero() {
				t.Errorf("abort %+v of transaction %d", *m, s.top)
			}
			s.aborted[m.SubXID] = true
		}
		if done(m) {
			return
		}
	}
}

func TestServerStreaming(t *testing.T) {
	url := testenv.NewCluster(t, "wal_level=logical", "fsync=off", "logical_decoding_work_mem=64kB").URL("postgres")
	testenv.Exec(t, url, serverSchema)
	testenv.Exec(t, url, `select pg_create_logical_replication_slot('streaming', 'pgoutput')`)
	f := startFeed(t, url, "streaming", "proto_version '2', streaming 'true', messages 'true'")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(from, to int) string {
		return fmt.Sprintf("insert into bulk select i, repeat('x', 100) from generate_series(%d, %d) i;", from, to)
	}
	// A commit elsewhere flushes the log of the open transaction.
	flush := func() { testenv.Exec(t, url, "insert into aside values (1)") }
	s := &streamed{rows: map[uint32]int{}, aborted: map[uint32]bool{}}

	exec("begin;" + fill(1, 2000) + "savepoint s;" + fill(2001, 4000))
	flush()
	s.until(t, f, func(m Message) bool { _, ok := m.(*StreamStop); return ok && len(s.rows) == 2 })
	exec("rollback to s;" + fill(4001, 6000) + "select pg_logical_emit_message(true, 'waybill', 'in a block'); commit")
	s.until(t, f, func(m Message) bool {
		c, ok := m.(*StreamCommit)
		if ok && (c.XID != s.top || c.End <= c.LSN || time.Since(c.Time) > time.Minute) {
			t.Errorf("commit %+v of transaction %d", *c, s.top)
		}
		return ok
	})
	kept := 0
	for xid, n := range s.rows {
		if !s.aborted[xid] {
			kept += n
		}
	}
	if kept != 4000 || len(s.aborted) != 1 || s.aborted[s.top] || !slices.Equal(s.messages, []string{"waybill in a block"}) {
		t.Errorf("%d rows are kept of %v, aborted %v, messages %q", kept, s.rows, s.aborted, s.messages)
	}

	exec("begin;" + fill(6001, 8000))
	flush()
	s.until(t, f, func(m Message) bool { _, ok := m.(*StreamStop); return ok })
	exec("rollback")
	flush()
	s.until(t, f, func(m Message) bool { a, ok := m.(*StreamAbort); return ok && a.SubXID == a.XID })
}
