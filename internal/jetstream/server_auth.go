package jetstream

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"

	"github.com/nats-io/nats-server/v2/server"
)

// reserved is the prefix of Waybill's own subjects, closed to foreign clients.
const reserved = "$WAYBILL"

// gate decides who may connect: this process, by a secret drawn at each start, may do
// anything; others need the token, where there is one.
type gate struct {
	own, token string
	// closed are streams that others may only look at: the registries of consumers.
	closed []string
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
	c.RegisterUser(&server.User{Username: "client", Permissions: g.foreign()})
	return true
}

// same compares in a time that tells nothing about either.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// foreign is what ordinary NATS clients may do: publish, subscribe, read streams through
// consumers of their own, and remove messages and streams, which readers notice as a gap. They
// may not make streams or change how one keeps its messages.
func (g gate) foreign() *server.Permissions {
	deny := []string{
		"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.RESTORE.>", "$JS.API.STREAM.SNAPSHOT.>",
		"$JS.API.ACCOUNT.PURGE.>", "$JS.API.SERVER.>", "$JS.API.META.>",
		reserved + ".>",
	}
	for _, stream := range g.closed {
		deny = append(deny, "$JS.API.STREAM.DELETE."+stream, "$JS.API.STREAM.PURGE."+stream, "$JS.API.STREAM.MSG.DELETE."+stream)
	}
	return &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}
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
