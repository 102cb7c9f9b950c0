package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waybill-data/waybill/internal/testenv"
)

// logFault is something that a person has to mend. The pipeline stops, or does not start; check and
// run say what it is and what to do, and when that is done nothing is missing.
type logFault struct {
	name    string
	cluster bool // the source is a server of its own, as it is made by default
	// breaks what works, before or after the pipeline ran; mend is what the messages ask for.
	breaks, mend func(l *lane)
	ready        bool     // check finds nothing that keeps the pipeline from running
	check, run   []string // what they say; run says nothing where it works
}

var logFaults = []logFault{
	{
		name: "wal_level", cluster: true,
		breaks: func(*lane) {},
		check:  []string{"wal_level is replica", "ALTER SYSTEM SET wal_level = logical; then restart the server"},
		run:    []string{"wal_level replica", "ALTER SYSTEM SET wal_level = logical; and restart it"},
		mend:   func(l *lane) { l.at(l.source, `alter system set wal_level = logical`) },
	},
	{
		name: "no privilege to replicate",
		breaks: func(l *lane) {
			l.at(l.source, fmt.Sprintf(`create role %[1]s login password 'secret-of-the-test'; grant create on database %[2]s to %[1]s;
				alter table customer owner to %[1]s; alter table phone owner to %[1]s`, l.role(), strings.TrimPrefix(l.slot, "w_")))
			l.t.Cleanup(func() {
				testenv.Exec(l.t, l.source, fmt.Sprintf("drop owned by %[1]s cascade; drop role %[1]s", l.role()))
			})
			l.from = strings.Replace(l.source, "//waybill:", "//"+l.role()+":", 1)
		},
		check: []string{"role r_w_test", "may not replicate", `ALTER ROLE "r_w_test`, `REPLICATION;`},
		run:   []string{"make slot w_test", `run as a superuser: ALTER ROLE "r_w_test`, "REPLICATION;"},
		mend:  func(l *lane) { l.at(l.source, `alter role `+l.role()+` replication`) },
	},
	{
		name: "tables of another role",
		breaks: func(l *lane) {
			l.at(l.source, fmt.Sprintf(`create role %s login replication password 'secret-of-the-test'`, l.role()))
			l.t.Cleanup(func() {
				testenv.Exec(l.t, l.source, fmt.Sprintf("drop owned by %[1]s cascade; drop role %[1]s", l.role()))
			})
			l.from = strings.Replace(l.source, "//waybill:", "//"+l.role()+":", 1)
		},
		check: []string{"may not make schema waybill", "GRANT CREATE ON DATABASE", "may not publish", `CREATE PUBLICATION "w_test`, `FOR TABLE "public"."customer", "public"."phone"`},
		run:   []string{"make table waybill.slot", "run as a superuser: GRANT CREATE ON DATABASE"},
		mend: func(l *lane) {
			l.at(l.source, fmt.Sprintf(`grant create on database %s to %s; create publication %s for table customer, phone with (publish_via_partition_root = true)`,
				strings.TrimPrefix(l.slot, "w_"), l.role(), l.slot))
		},
	},
	{
		name: "publication lacks a table",
		breaks: func(l *lane) {
			l.catchUp()
			l.at(l.source, `create table public.late (id int primary key, x text); insert into public.late values (1, '`+hush+`')`)
			l.tables = append(l.tables, "public.late")
		},
		check: []string{`lacks "public"."late"`, `ADD TABLE "public"."late";`},
		run:   []string{`lacks "public"."late"`, `run ALTER PUBLICATION "w_test`, `ADD TABLE "public"."late";`, "bring over by hand"},
		mend: func(l *lane) {
			l.at(l.source, `alter publication `+l.slot+` add table public.late; update public.late set x = x`)
		},
	},
	{
		name: "table without key",
		breaks: func(l *lane) {
			l.at(l.source, `create table public.log (id int not null, x text)`)
			l.tables = append(l.tables, "public.log")
		},
		check: []string{"table public.log has no key", `ALTER TABLE "public"."log" ADD PRIMARY KEY (…);`},
		mend: func(l *lane) {
			l.at(l.source, `alter table public.log add primary key (id)`)
			l.install()
			l.at(l.source, `insert into log values (1, 'a'), (2, 'b'); update log set x = 'c' where id = 1; delete from log where id = 2`)
		},
	},
	{
		name: "table without key, its rows whole",
		breaks: func(l *lane) {
			l.at(l.source, `create table public.log (id int, x text); alter table public.log replica identity full`)
			l.tables = append(l.tables, "public.log")
			l.install()
			l.at(l.source, `insert into log values (1, 'a'), (2, 'b')`)
			l.catchUp()
			l.at(l.source, `update log set x = 'c' where id = 1; delete from log where id = 2`)
		},
		ready: true,
		check: []string{"table public.log has no key", `ALTER TABLE "public"."log" ADD PRIMARY KEY (…);`},
		run:   []string{"refused at public.log", `no primary key or unique constraint on ("id", "x"), which update needs`, `ALTER TABLE "public"."log" ADD PRIMARY KEY ("id", "x")`},
		mend:  func(l *lane) { l.at(l.target, `alter table public.log add primary key (id, x)`) },
	},
	{
		name: "type missing at the target",
		breaks: func(l *lane) {
			l.at(l.source, `create type public.mood as enum ('good', 'bad'); create table public.person (id int primary key, m mood)`)
			l.tables = append(l.tables, "public.person")
			l.install()
			l.at(l.source, `insert into person values (1, 'good')`)
		},
		ready: true,
		run:   []string{"table public.person at the target", "column m has type mood", "CREATE TYPE"},
		mend:  func(l *lane) { l.at(l.target, `create type public.mood as enum ('good', 'bad')`) },
	},
	{
		name: "column too narrow for its type",
		breaks: func(l *lane) {
			l.at(l.target, strings.Replace(laneTables, "name text", "name varchar(4)", 1))
			l.install()
			l.write()
		},
		ready: true,
		run:   []string{"table public.customer at the target", "column name (character varying(4))", "source's type text", `ALTER TABLE "public"."customer" ALTER COLUMN "name" TYPE text`},
		mend:  func(l *lane) { l.at(l.target, `alter table public.customer alter column name type text`) },
	},
	{
		name: "column too narrow for a value",
		breaks: func(l *lane) {
			l.at(l.target, strings.Replace(laneTables, "name text", "name varchar(4)", 1))
			l.beside = "    evolve: false\n"
			l.install()
			l.write()
		},
		ready: true,
		run:   []string{`refused at public.customer {"id":1}`, "column name (character varying(4)): value too long", "give the column a type that holds it"},
		mend:  func(l *lane) { l.at(l.target, `alter table public.customer alter column name type text`) },
	},
}

func (l *lane) role() string { return "r_" + l.slot }

func TestLogFaults(t *testing.T) {
	for _, f := range logFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var (
				cluster *testenv.Cluster
				source  string
			)
			if f.cluster {
				cluster = testenv.NewCluster(t)
				source = cluster.URL("postgres")
			} else {
				source = testenv.Postgres(t).URL
			}
			l := newLane(t, laneChanges, source, testenv.Postgres(t).URL)
			f.breaks(l)
			code := 1
			if f.ready {
				code = 0
			}
			contains(t, l.does(code, "check"), f.check...)
			if len(f.run) > 0 {
				for range 2 { // again and again
					contains(t, l.does(1, "run"), append([]string{"pipeline crm stopped", "crm/postgres"}, f.run...)...)
				}
			}
			f.mend(l)
			if cluster != nil {
				cluster.Stop(t)
				cluster.Start(t)
			}
			l.install()
			l.write()
			l.catchUp()
			l.same()
			l.does(0, "check")
		})
	}
}
