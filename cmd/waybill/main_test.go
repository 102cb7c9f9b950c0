package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/waybill-data/waybill/internal/testenv"
)

// testMain lets testenv stop its servers after the scripts ran.
type testMain struct{ m *testing.M }

func (t testMain) Run() int {
	testenv.Main(t.m) // it ends the process
	return 0
}

func TestMain(m *testing.M) {
	testscript.Main(testMain{m}, map[string]func(){"waybill": main, "sql": sqlMain, "stubborn": stubbornMain})
}

// TestScripts runs testdata/script. Besides testscript's own, the scripts have the commands
//
//	exits CODE waybill ARG…    the command ends with that code
//	json PATH WANT             stdout is one JSON object, and what is there (a.0.b) is WANT
//	postgres VAR               VAR is the URL of a new database
//	cluster VAR SETTING…       VAR is the URL of a new server's database with settings (a=b)
//	freeport VAR               VAR is a port of 127.0.0.1 where nobody listens
//	await sql DSN QUERY WANT   until the query's rows, as `sql` prints them, are WANT
//	await json PATH WANT CMD…  until the command's output has WANT there
//	await file FILE            until the file is there
//	await get URL CODE         until the URL answers with that status
//	flock FILE                 holds the file as another process would, until unflock
//	serve VAR                  VAR is the host:port of a web server that is no waybill
//	sql DSN QUERY…             runs them and prints the rows of the last; DSN is a URL or FILE
//	wrongpassword VAR URL      VAR is the URL with $SECRET for a password
//	nosecret                   neither stdout nor stderr holds what $SECRET does
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": scriptExits, "json": scriptJSON, "freeport": scriptFreePort, "await": scriptAwait,
			"flock": scriptFlock, "unflock": scriptUnflock, "serve": scriptServe, "nosecret": scriptNoSecret, "wrongpassword": scriptWrongPassword,
			"cluster": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], testenv.NewCluster(t, args[1:]...).URL("postgres"))
			},
			"postgres": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], testenv.Postgres(t).URL) },
		},
		Setup: func(e *testscript.Env) error {
			port, err := freePort()
			e.Setenv("ADMIN", net.JoinHostPort("127.0.0.1", port))
			e.Setenv("SECRET", "secret-of-the-test")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each program takes a second to end
			return err
		},
	})
}

func freePort() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

func scriptFreePort(ts *testscript.TestScript, _ bool, args []string) {
	port, err := freePort()
	ts.Check(err)
	ts.Setenv(args[0], port)
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptNoSecret(ts *testscript.TestScript, _ bool, _ []string) {
	for _, name := range []string{"stdout", "stderr"} {
		if strings.Contains(ts.ReadFile(name), ts.Getenv("SECRET")) {
			ts.Fatalf("the secret is in %s", name)
		}
	}
}

func scriptWrongPassword(ts *testscript.TestScript, _ bool, args []string) {
	u, err := url.Parse(args[1])
	ts.Check(err)
	u.User = url.UserPassword(u.User.Username(), ts.Getenv("SECRET"))
	ts.Setenv(args[0], u.String())
}

func scriptJSON(ts *testscript.TestScript, _ bool, args []string) {
	path, want := "", ""
	if len(args) > 0 {
		path, want = args[0], args[1]
	}
	switch got, err := jsonAt(ts.ReadFile("stdout"), path); {
	case err != nil:
		ts.Fatalf("stdout %v", err)
	case path != "" && got != want:
		ts.Fatalf("%s is %s, want %s", path, got, want)
	}
}

// jsonAt finds what is at path (a.0.b) in the text, which is one JSON object.
func jsonAt(text, path string) (string, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("is no JSON: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return "", errors.New("is no JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("holds more than one object")
	}
	for step := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			if i, err := strconv.Atoi(step); err == nil && i < len(at) {
				v = at[i]
				continue
			}
			v = nil
		default:
			v = nil
		}
	}
	return fmt.Sprint(v), nil
}

// patience is how long a script waits for anything; nothing should take a tenth of it.
const patience = 60 * time.Second

func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(patience)
	var got string
	for time.Now().Before(deadline) {
		var want string
		switch args[0] {
		case "sql":
			dsn := args[1]
			if !strings.Contains(dsn, "://") {
				dsn = ts.MkAbs(dsn)
			}
			rows, err := query(context.Background(), dsn, args[2:3])
			got, want = strings.TrimSuffix(rows, "\n"), args[3]
			if err != nil {
				got = err.Error()
			}
		case "get":
			got, want = answer(args[1]), args[2]
		case "json":
			want = args[2]
			err := ts.Exec(args[3], args[4:]...)
			if err == nil {
				got, err = jsonAt(ts.ReadFile("stdout"), args[1])
			}
			if err != nil {
				got = err.Error()
			}
		case "file":
			if _, err := os.Stat(ts.MkAbs(args[1])); err == nil {
				return
			}
			got, want = "no file", "a file"
		default:
			ts.Fatalf("cannot await %s", args[0])
		}
		if got == want {
			return
		}
		time.Sleep(10 * time.Millisecond) // between looks at another process; the deadline decides
	}
	ts.Fatalf("still %q after %s", got, patience)
}

func answer(url string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = resp.Body.Close()
	return strconv.Itoa(resp.StatusCode)
}

// scriptFlock holds a file as another process would.
func scriptFlock(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	held.Store(ts, f)
	ts.Defer(func() { scriptUnflock(ts, false, nil) })
}

func scriptUnflock(ts *testscript.TestScript, _ bool, _ []string) {
	if f, ok := held.LoadAndDelete(ts); ok {
		ts.Check(f.(*os.File).Close())
	}
}

// held are the files that scripts hold.
var held sync.Map

func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	ts.Defer(func() {
		_ = srv.Close()
		<-done
	})
	ts.Setenv(args[0], l.Addr().String())
}

// sqlMain is the program `sql` of the scripts; it shares no code with the engine.
func sqlMain() {
	out, err := query(context.Background(), os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(out)
}

// query prints rows as lines of columns separated by "|".
func query(ctx context.Context, dsn string, statements []string) (string, error) {
	if strings.Contains(dsn, "://") {
		return queryPostgres(ctx, dsn, statements)
	}
	db, err := sql.Open("sqlite", "file:"+dsn+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements[:len(statements)-1] {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return "", err
		}
	}
	rows, err := db.QueryContext(ctx, statements[len(statements)-1])
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for rows.Next() {
		texts := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range texts {
			into[i] = &texts[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		for i := range texts {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(texts[i].String)
		}
		b.WriteByte('\n')
	}
	return b.String(), rows.Err()
}

func queryPostgres(ctx context.Context, dsn string, statements []string) (string, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var b strings.Builder
	for i, s := range statements {
		results, err := conn.PgConn().Exec(ctx, s).ReadAll()
		if err != nil {
			return "", err
		}
		if i < len(statements)-1 {
			continue
		}
		for _, r := range results {
			for _, row := range r.Rows {
				cells := make([]string, len(row))
				for i := range row {
					cells[i] = string(row[i])
				}
				b.WriteString(strings.Join(cells, "|") + "\n")
			}
		}
	}
	return b.String(), nil
}
