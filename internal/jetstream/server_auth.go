package jetstream

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// reserved is the prefix of Waybill's own subjects, closed to foreign clients.
const reserved = "$WAYBILL"

// gate decides who may connect: this process, by a secret drawn at each start, may do
// anything; others need the token, where there is one.
type gate struct {
	own, token string
	closed     *closed
}

// Check is server.Authentication's.
func (g gate) Check(c server.ClientAuthentication) bool {
	given := c.GetOpts().Token
	if same(given, g.own) {
		return true
	}
	if g.token != "" && !same(given, g.token) {
		return false
	}
	c.RegisterUser(&server.User{Username: "client", Permissions: g.closed.foreign()})
	return true
}

// same compares in a time that tells nothing about either.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// closed is what foreign clients may not subscribe or publish to, beside what no one of them may.
type closed struct {
	mu        sync.Mutex
	subscribe []string
	publish   []string
}

// reading closes the subjects of a queue's stream to subscriptions: they would show where the
// answer to a write is awaited. Consumers are how a stream is read.
func (c *closed) reading(stream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribe = append(c.subscribe, stream+".>")
}

// writing closes a subject that a Writer of this process writes to others. Clients that are
// connected already must connect again.
func (c *closed) writing(subject string) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.publish, subject) {
		return false
	}
	c.publish = append(c.publish, subject, schemaSubject(subject, ">"))
	return true
}

// writing is told of each Writer.
func (s *Server) writing(subject string) {
	if !s.closed.writing(subject) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.Listen == "" {
		return
	}
	all, err := s.running.Connz(&server.ConnzOptions{Limit: 2 * maxConnections})
	if err != nil {
		s.Log.Warn("clients that are connected could not be told what a pipeline writes to", "subject", subject, "err", err)
		return
	}
	for _, c := range all.Conns {
		if c.Port > 0 { // not within the process
			_ = s.running.DisconnectClientByID(c.Cid) // or it is gone
		}
	}
}

// foreign is what ordinary NATS clients may do: publish where no pipeline of this process does,
// read streams through consumers of their own, and remove messages and streams, which readers
// notice as a gap. They may not listen to what others send to the server, make streams, or
// change how one keeps its messages.
func (c *closed) foreign() *server.Permissions {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &server.Permissions{
		Subscribe: &server.SubjectPermission{Deny: append([]string{"$JS.>", "$SYS.>", reserved + ".>"}, c.subscribe...)},
		Publish: &server.SubjectPermission{Deny: append([]string{
			"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.RESTORE.>", "$JS.API.STREAM.SNAPSHOT.>",
			"$JS.API.ACCOUNT.PURGE.>", "$JS.API.SERVER.>", "$JS.API.META.>",
			"$SYS.>", reserved + ".>", // what there is to see of connections names their subjects
		}, c.publish...)},
	}
}

// listenAt splits Listen and refuses an address beyond this host without a token.
func listenAt(listen, token string) (host string, port int, err error) {
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return "", 0, fmt.Errorf("parse listen address %q: %w", listen, err)
	}
	if token == "" && !addr.IP.IsLoopback() {
		return "", 0, fmt.Errorf("listen on %s: an address that other hosts can reach needs a token", listen)
	}
	port = addr.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	host = "0.0.0.0"
	if len(addr.IP) > 0 {
		host = addr.IP.String()
	}
	return host, port, nil
}
