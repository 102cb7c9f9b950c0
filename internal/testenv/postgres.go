package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Database is a PostgreSQL database of the test's own in the package's shared cluster.
type Database struct {
	URL  string
	Name string
}

// Cluster is a private PostgreSQL server.
type Cluster struct {
	Dir  string // data directory
	Port int
	base string
	bin  string // directory of the server's programs
	conf []string
	proc *exec.Cmd
	done chan struct{}
	dog  *watcher
	log  bytes.Buffer
}

// Postgres returns an empty database, dropped when the test ends. The server behind it is
// shared by the tests of the package, writes the log as logical replication needs it, and does
// not fsync.
func Postgres(t testing.TB) *Database {
	t.Helper()
	return PostgresVersion(t, 0)
}

// PostgresVersion is Postgres with a server of the major version given, as NewClusterVersion finds it.
func PostgresVersion(t testing.TB, major int) *Database {
	t.Helper()
	requireVersion(t, major)
	shared.Lock()
	c := shared.clusters[major]
	if c == nil {
		c = new(sharedCluster)
		c.cluster, c.err = newCluster(major, []string{"fsync=off", "wal_level=logical", "max_replication_slots=50", "max_wal_senders=50"})
		if c.err == nil {
			if c.err = c.cluster.start(); c.err != nil {
				c.cluster.remove()
			}
		}
		if shared.clusters == nil {
			shared.clusters = map[int]*sharedCluster{}
		}
		shared.clusters[major] = c
	}
	shared.number++
	name := fmt.Sprintf("test_%d", shared.number)
	shared.Unlock()
	if c.err != nil {
		t.Fatalf("start PostgreSQL: %v", c.err)
	}
	admin := c.cluster.URL("postgres")
	Exec(t, admin, "create database "+name)
	t.Cleanup(func() { Exec(t, admin, "drop database if exists "+name+" with (force)") })
	return &Database{URL: c.cluster.URL(name), Name: name}
}

// NewCluster starts a server of the test's own with additional settings such as
// "synchronous_commit=off", and stops it when the test ends.
func NewCluster(t testing.TB, conf ...string) *Cluster {
	t.Helper()
	return NewClusterVersion(t, 0, conf...)
}

// NewClusterVersion is NewCluster with a server of the major version given: one of Versions, or 0 for
// the one that Postgres uses. Where there is none the test is skipped, saying so.
func NewClusterVersion(t testing.TB, major int, conf ...string) *Cluster {
	t.Helper()
	requireVersion(t, major)
	c, err := newCluster(major, conf)
	if err != nil {
		t.Fatalf("create PostgreSQL cluster: %v", err)
	}
	t.Cleanup(c.remove)
	c.Start(t)
	return c
}

// Exec runs SQL statements on a connection of its own.
func Exec(t testing.TB, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatalf("exec %.200s: %v", sql, err)
	}
}

// URL is the address of a database in the cluster for its superuser.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("postgres://waybill:secret-of-the-test@127.0.0.1:%d/%s?sslmode=disable", c.Port, database)
}

// Start starts the server, if it is not running, and waits until it answers.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	if err := c.start(); err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
}

// Stop ends the server as pg_ctl stop -m fast does.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.signal(syscall.SIGINT)
}

// Kill ends the server and all its backends as a crash does: nothing is flushed.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	c.signal(syscall.SIGQUIT)
}

func (c *Cluster) signal(sig syscall.Signal) {
	if c.proc == nil {
		return
	}
	_ = c.proc.Process.Signal(sig)
	<-c.done
	c.dog.release()
	c.proc = nil
}

func (c *Cluster) remove() {
	c.signal(syscall.SIGQUIT)
	_ = os.RemoveAll(c.base)
}

func newCluster(major int, conf []string) (*Cluster, error) {
	bin, err := binaries(major)
	if err != nil {
		return nil, err
	}
	base, err := os.MkdirTemp("", "waybill-pg-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{base: base, Dir: filepath.Join(base, "data"), bin: bin, conf: conf}
	if err := c.init(); err != nil {
		_ = os.RemoveAll(base)
		return nil, err
	}
	return c, nil
}

func (c *Cluster) init() error {
	if cred, err := credential(); err != nil {
		return err
	} else if cred != nil {
		if err := os.Chown(c.base, int(cred.Uid), int(cred.Gid)); err != nil {
			return err
		}
	}
	pw := filepath.Join(c.base, "password")
	if err := os.WriteFile(pw, []byte("secret-of-the-test\n"), 0o644); err != nil {
		return err
	}
	cmd, err := c.command("initdb", "-D", c.Dir, "-U", "waybill", "--pwfile", pw, "--auth-host=scram-sha-256",
		"--auth-local=trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	c.Port, err = freePort()
	return err
}

func (c *Cluster) start() error {
	if c.proc != nil {
		return nil
	}
	args := []string{
		"-D", c.Dir, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(c.Port),
		"-c", "unix_socket_directories=" + c.base, "-c", "max_connections=200",
	}
	for _, s := range c.conf {
		args = append(args, "-c", s)
	}
	cmd, err := c.command("postgres", args...)
	if err != nil {
		return err
	}
	c.log.Reset()
	cmd.Stdout, cmd.Stderr = &c.log, &c.log
	if err := cmd.Start(); err != nil {
		return err
	}
	if c.dog, err = watch(cmd.Process.Pid); err != nil {
		return err
	}
	done := make(chan struct{})
	c.proc, c.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
	return c.await()
}

func (c *Cluster) await() error {
	deadline := time.Now().Add(60 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			c.dog.release()
			c.proc = nil
			return fmt.Errorf("the server ended: %s", c.log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// command prepares a server program to run as an unprivileged user.
func (c *Cluster) command(name string, args ...string) (*exec.Cmd, error) {
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.base
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	return cmd, nil
}

// credential is the user that servers run as: the caller, unless that is root.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("no unprivileged user to run servers as")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(strings.TrimSpace(l.Addr().String()))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
