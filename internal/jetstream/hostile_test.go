package jetstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/waybill-data/waybill"
)

// client is one as others connect, that counts what it is denied.
func client(t *testing.T, q *Queue) (nc *nats.Conn, denied chan error) {
	t.Helper()
	denied = make(chan error, 100)
	nc, err := nats.Connect("nats://"+q.server.Addr(), nats.ReconnectWait(time.Millisecond), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, denied
}

// TestClientsHearNothing: who heard the subject of an answer could forge it.
func TestClientsHearNothing(t *testing.T) {
	q, _ := listening(t, "")
	f := newFeed(t, q, "crm")
	nc, denied := client(t, q)
	for _, subject := range []string{"q.crm", "q.>", "q.*", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.ACK.>", "$SYS.>", "$WAYBILL.>", "$WAYBILL.inbox.*.>"} {
		for _, group := range []string{"", "g"} {
			if _, err := nc.QueueSubscribeSync(subject, group); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-denied:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("%s: %v", subject, err)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%s (%q) may be subscribed to", subject, group)
			}
		}
	}
	heard := make(chan *nats.Msg, 1000)
	for _, subject := range []string{">", "*.crm", "*.>", "*.*.>"} {
		for _, group := range []string{"", "g", "_zz_"} {
			if _, err := nc.ChanQueueSubscribe(subject, group, heard); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/t"})
	defer r.Close()
	f.write(f.batch(20))
	f.emit()
	if n := readAll(t, r); n != 21 {
		t.Errorf("%d actions read", n)
	}
	if _, err := q.Stats(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("end", nil); err != nil {
		t.Fatal(err)
	}
	for m := range heard { // in the order in which the server dealt with them
		if m.Subject == "end" {
			break
		}
		t.Errorf("heard %s (reply %s)", m.Subject, m.Reply)
	}
}

// TestClientsRead by the means of JetStream.
func TestClientsRead(t *testing.T) {
	q, s := listening(t, "")
	put(t, s, "q.a", "q.a", "q.a")
	nc, denied := client(t, q)
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pull, err := js.CreateConsumer(ctx(t), "q", natsjs.ConsumerConfig{Durable: "d", AckPolicy: natsjs.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	ordered, err := js.OrderedConsumer(ctx(t), "q", natsjs.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]natsjs.Consumer{"durable": pull, "ordered": ordered} {
		msgs, err := c.Fetch(3, natsjs.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for m := range msgs.Messages() {
			n++
			if name == "durable" {
				if err := m.DoubleAck(ctx(t)); err != nil {
					t.Error(err)
				}
			}
		}
		if n != 3 {
			t.Errorf("%s: %d messages, %v", name, n, msgs.Error())
		}
	}
	legacy, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := legacy.SubscribeSync("q.a", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	push, err := legacy.SubscribeSync("q.a", nats.BindStream("q"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, s := range []*nats.Subscription{sub, push} {
			if _, err := s.NextMsg(10 * time.Second); err != nil {
				t.Error(err)
			}
		}
	}
	if len(denied) > 0 {
		t.Error(<-denied)
	}
}

// TestClientsDoNotWriteWherePipelinesDo, and may elsewhere.
func TestClientsDoNotWriteWherePipelinesDo(t *testing.T) {
	q, _ := listening(t, "")
	f := newFeed(t, q, "crm")
	f.emit()
	nc, denied := client(t, q)
	for _, subject := range []string{"q.crm", "q.crm.schema.0", "$WAYBILL.wake.q.crm"} {
		if err := nc.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-denied:
		case <-time.After(10 * time.Second):
			t.Errorf("%s may be published to", subject)
		}
	}
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx(t), "q.erp", []byte("x")); err != nil {
		t.Error(err)
	}
	again := nc.StatusChanged(nats.CONNECTED)
	NewWriter(q, WriterOptions{Subject: "hr"})
	select {
	case <-again: // with what it may now
	case <-time.After(10 * time.Second):
		t.Fatal("the client stays connected")
	}
	if err := nc.Publish("q.hr", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-denied:
	case <-time.After(10 * time.Second):
		t.Error("q.hr may be published to")
	}
	if !f.w.p.s.nc.IsConnected() {
		t.Error("the writer's own connection was ended, too")
	}
	f.emit()
}

// TestForeignMessageInASubject: it is named with its remedy, and after that all goes on.
func TestForeignMessageInASubject(t *testing.T) {
	for name, message := range map[string]string{
		"garbage":  "\x00\xff garbage",
		"no seq":   `{"specversion":"1.0","id":"f","source":"/waybill/crm","type":"t","data":[]}`,
		"next seq": fmt.Sprintf(`{"specversion":"1.0","id":"f","source":"/waybill/crm","type":"t","sequence":"%020d","waybillposition":"x","data":[]}`, 3),
		"position": fmt.Sprintf(`{"specversion":"1.0","id":"p","source":"/waybill/crm","type":"waybill.position","sequence":"%020d","waybillkind":"position","waybillposition":"x"}`, 2),
		"part":     fmt.Sprintf(`{"specversion":"1.0","id":"a/5f/1","source":"/waybill/crm","type":"t","sequence":"%020d","waybillkind":"part","waybillposition":"z","waybillaction":"a","waybillattempt":"5f","waybillpart":1,"waybilllast":false,"data":[]}`, 3),
	} {
		t.Run(name, func(t *testing.T) {
			q, s := listening(t, "")
			f := newFeed(t, q, "crm")
			f.write(f.batch(2))
			r := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/t"})
			defer r.Close()
			if n := readAll(t, r); n != 2 {
				t.Fatalf("%d actions read", n)
			}
			before := r.after
			if _, err := s.js.Publish(ctx(t), "q.crm", []byte(message)); err != nil {
				t.Fatal(err)
			}
			check := func(what string, err error) {
				t.Helper()
				if err == nil || errors.Is(err, waybill.ErrFenced) || errors.Is(err, waybill.ErrGap) || waybill.Transient(err) ||
					!strings.Contains(err.Error(), "message 3") || !strings.Contains(err.Error(), "not written by") || !strings.Contains(err.Error(), "rmm q 3") {
					t.Errorf("%s: %v", what, err)
				}
			}
			check("write", f.w.Write(ctx(t), f.batch(2)))
			check("idle", f.w.Write(ctx(t), f.of()))
			_, err := f.w.Resume(ctx(t), "crm/embedded")
			check("resume", err)
			if name == "garbage" || name == "no seq" {
				_, err := r.Next(ctx(t))
				check("read", err)
			}
			nc, _ := client(t, q)
			js, err := natsjs.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(ctx(t), "q")
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.DeleteMsg(ctx(t), 3); err != nil {
				t.Fatal(err)
			}
			if f.resume(); f.seq != 2 {
				t.Errorf("resumed at %d", f.seq)
			}
			f.write(f.batch(2))
			if err := r.Open(ctx(t), before); err != nil {
				t.Fatal(err)
			}
			b, err := r.Next(ctx(t))
			if err != nil || len(b.Actions) != 2 || b.Actions[0].Seq != 3 {
				t.Errorf("read on: %d actions, %v", len(b.Actions), err)
			}
		})
	}
}

// TestNoteOfConsumersIsDamaged: nothing more is removed for it, and nothing else stops.
func TestNoteOfConsumersIsDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(path string) error
		fails  bool
	}{
		"missing": {os.Remove, false},
		"empty":   {func(path string) error { return os.Truncate(path, 0) }, false},
		"garbage": {func(path string) error { return os.WriteFile(path, []byte(`{"v":1,"str`), 0o600) }, true},
		"another": {func(path string) error { return os.WriteFile(path, []byte(`{"v":2}`), 0o600) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			q := queueIn(t, dir, QueueOptions{})
			f := newFeed(t, q, "crm")
			f.write(f.batch(9))
			quick := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/quick"})
			slow := NewReader(q, ReaderOptions{Subject: "crm", Stream: "crm/slow", MaxActions: 3})
			if err := slow.Open(ctx(t), ""); err != nil {
				t.Fatal(err)
			}
			b, err := slow.Next(ctx(t))
			if err == nil {
				err = slow.Ack(ctx(t), b.Upto)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(slow.Close(), f.w.Close()); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, memoryName)
			if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "crm/slow") {
				t.Fatalf("%s, %v", text, err)
			}
			if err := c.damage(path); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			q = queueIn(t, dir, QueueOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
			quick, slow = NewReader(q, quick.ReaderOptions), NewReader(q, slow.ReaderOptions)
			defer func() { _, _ = quick.Close(), slow.Close() }()
			err = quick.Open(ctx(t), "")
			if c.fails {
				if err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("open: %v", err)
				}
				return
			}
			if err != nil || !strings.Contains(log.String(), path) {
				t.Fatalf("open: %v; log: %s", err, log.String())
			}
			all, err := quick.Next(ctx(t))
			if err == nil {
				err = quick.Ack(ctx(t), all.Upto)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := quick.Close(); err != nil { // would remove what quick alone has
				t.Fatal(err)
			}
			if err := slow.Open(ctx(t), b.Upto); err != nil {
				t.Fatal(err)
			}
			if b, err := slow.Next(ctx(t)); err != nil || len(b.Actions) != 3 || b.Actions[0].Seq != 4 {
				t.Errorf("%v, %v", b.Actions, err)
			}
		})
	}
}

// TestConsumersInTheFile: every change is there when its call returns, acknowledgements at the last close.
func TestConsumersInTheFile(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "q.a", "q.a")
	look := func(want string) {
		t.Helper()
		m, err := q.server.readMemory()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(m.Streams["q"].Consumers)
		if string(text) != want {
			t.Errorf("noted %s, want %s", text, want)
		}
	}
	if err := q.register(s, "a/t", "a"); err != nil {
		t.Fatal(err)
	}
	look(`{"a/t":{"subject":"a","acked":0}}`)
	if err := q.register(s, "a/u", "a"); err != nil {
		t.Fatal(err)
	}
	if err := q.drop(ctx(t), "a/u"); err != nil {
		t.Fatal(err)
	}
	look(`{"a/t":{"subject":"a","acked":0}}`)
	if err := q.acked(ctx(t), s, "a/t", "a", 2); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	look(`{"a/t":{"subject":"a","acked":2}}`)
}

// TestFullOfWhatNobodyReads names it.
func TestFullOfWhatNobodyReads(t *testing.T) {
	q, s := listening(t, "")
	q.MaxBytes = 1 << 20
	f := newFeed(t, q, "crm")
	if err := q.register(s, "crm/t", "crm"); err != nil {
		t.Fatal(err)
	}
	f.emit()
	junk := make([]byte, 50<<10)
	for {
		if _, err := s.js.Publish(ctx(t), "q.junk", junk); err != nil {
			break
		}
	}
	var err error
	for err == nil {
		b := f.batch(50)
		if err = f.w.Write(ctx(t), b); err == nil {
			f.pos, f.seq = b.Upto, b.LastSeq(f.seq)
		}
	}
	if !waybill.Transient(err) || !strings.Contains(err.Error(), "no consumer reads q.junk") {
		t.Errorf("write: %v", err)
	}
	st, err := q.Stats(ctx(t))
	if err != nil || !strings.Contains(st.FullReason, "no consumer reads q.junk") {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestClientHasTheServerChangeStreams, which it may not itself: that does not last.
func TestClientHasTheServerChangeStreams(t *testing.T) {
	q, _ := listening(t, "")
	f := newFeed(t, q, "crm")
	f.emit()
	evil := q.config(nil)
	evil.Metadata, evil.Subjects, evil.MaxAge = map[string]string{idKey: f.w.id}, []string{"q.>", "$WAYBILL.>"}, time.Hour
	own := natsjs.StreamConfig{Name: "own", Subjects: []string{"$WAYBILL.inbox.>"}, Storage: natsjs.FileStorage}
	for api, c := range map[string]natsjs.StreamConfig{"UPDATE.q": evil, "CREATE.own": own} {
		before := f.w.p.inbox
		nc, _ := client(t, q)
		js, err := natsjs.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx(t), "q.config", text); err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$JS.API.DIRECT.GET.q", "$JS.API.STREAM."+api, []byte(`{"last_by_subj":"q.config"}`)); err != nil {
			t.Fatal(err)
		}
		eventually(t, f.w.p.s.nc.IsClosed, func() any { return api })
		f.emit()
		info, err := f.w.p.s.js.Stream(ctx(t), "q")
		if err != nil {
			t.Fatal(err)
		}
		if c := info.CachedInfo().Config; len(c.Subjects) != 1 || c.MaxAge != 0 {
			t.Errorf("%s: %+v", api, c)
		}
		if _, err := f.w.p.s.js.Stream(ctx(t), "own"); !errors.Is(err, natsjs.ErrStreamNotFound) {
			t.Errorf("%s: the client's stream is there: %v", api, err)
		}
		if f.w.p.inbox == before {
			t.Error("answers are awaited where they were")
		}
	}
}
