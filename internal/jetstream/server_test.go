package jetstream

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// listening is an open session of a queue that NATS clients can reach.
func listening(t *testing.T, token string) (*Queue, *session) {
	t.Helper()
	q := NewQueue(NewServer(ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token}), QueueOptions{Stream: "q", MaxBytes: 1 << 30})
	s, err := q.open(ctx(t), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return q, s
}

func TestNATSClientReads(t *testing.T) {
	q, s := listening(t, "secret")
	put(t, s, "q.a", "q.a", "q.a")
	for name, opts := range map[string][]nats.Option{
		"no token": nil, "another token": {nats.Token("guess")}, "a user": {nats.UserInfo("client", "secret")},
	} {
		if nc, err := nats.Connect("nats://"+q.server.Addr(), opts...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
			if nc != nil {
				nc.Close()
			}
		}
	}
	nc, err := nats.Connect("nats://"+q.server.Addr(), nats.Token("secret"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := natsjs.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(ctx(t), "q", natsjs.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := c.Fetch(3, natsjs.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range msgs.Messages() {
		n++
	}
	if n != 3 {
		t.Fatalf("%d messages read", n)
	}
	// It may write where no pipeline does, and remove.
	if _, err := js.Publish(ctx(t), "q.b", []byte("foreign")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	for _, subject := range []string{
		"$JS.API.STREAM.UPDATE.q", "$JS.API.STREAM.CREATE.other", "$SYS.REQ.ACCOUNT.PING.CONNZ",
	} {
		if m, err := nc.Request(subject, []byte(`{"seq":1}`), 100*time.Millisecond); err == nil {
			t.Errorf("%s is answered: %s", subject, m.Data)
		}
	}
	if _, err := nc.Request("$JS.API.STREAM.MSG.DELETE.q", []byte(`{"seq":1}`), 10*time.Second); err != nil {
		t.Errorf("remove a message: %v", err)
	}
}

func TestListenBeyondThisHostNeedsAToken(t *testing.T) {
	for listen, token := range map[string]string{"0.0.0.0:0": "", ":0": "", "[::]:0": "", "192.0.2.1:0": ""} {
		s := NewServer(ServerOptions{Dir: t.TempDir(), Listen: listen, Token: token})
		if err := s.Start(ctx(t)); err == nil {
			t.Errorf("%s without a token is accepted", listen)
			_ = s.Close()
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := NewServer(ServerOptions{Dir: t.TempDir(), Listen: l.Addr().String()})
	if err := s.Start(ctx(t)); err == nil {
		t.Fatal("a port that is in use")
	} else {
		t.Log(err)
	}
}

// TestGarbageOnThePort sends what no client sends; the server answers others all the time.
func TestGarbageOnThePort(t *testing.T) {
	q, s := listening(t, "secret")
	random := rand.New(rand.NewPCG(1, 2))
	starts := []string{
		"", "CONNECT {", "CONNECT {}\r\n", "PUB q.a 99999999999999999999\r\n", "CONNECT {\"auth_token\":\"secret\"}\r\nPUB q.a -1\r\n",
		"CONNECT {\"auth_token\":\"secret\"}\r\nHPUB q.a 900 4\r\n", "CONNECT {\"auth_token\":\"secret\",\"headers\":true}\r\nHPUB q.a 12 4\r\n",
		"CONNECT {\"auth_token\":\"secret\"}\r\nSUB > 1\r\n", "PING\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "INFO {}\r\n", "+OK\r\n",
		"CONNECT {\"auth_token\":\"secret\",\"headers\":true}\r\nHPUB q.a r 30 30\r\nNATS/1.0\r\nNats-Batch-Id: \xff\r\n\r\n",
	}
	for i := range 60 {
		c, err := net.Dial("tcp", q.server.Addr())
		if err != nil {
			t.Fatalf("the server is gone after %d connections: %v", i, err)
		}
		junk := make([]byte, random.IntN(6000))
		for j := range junk {
			junk[j] = byte(random.Uint32())
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(append([]byte(starts[i%len(starts)]), junk...))
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		if i%10 == 0 {
			put(t, s, "q.fine")
		}
	}
	put(t, s, "q.fine")
	if st, err := q.Stats(ctx(t)); err != nil || st.Messages < 7 {
		t.Fatalf("%+v, %v", st, err)
	}
}
