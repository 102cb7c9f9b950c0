package testenv

import "testing"

func TestMain(m *testing.M) { Main(m) }

func TestClusterSurvivesKill(t *testing.T) {
	c := NewCluster(t)
	Exec(t, c.URL("postgres"), "create table x(i int)")
	c.Kill(t)
	c.Start(t)
	Exec(t, c.URL("postgres"), "insert into x values(1)")
	c.Stop(t)
}

func TestDatabase(t *testing.T) {
	Exec(t, Postgres(t).URL, "create table x(i int)")
}
