package jetstream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A client that may not change streams can have the server do it: a consumer delivers a message
// that the client published to the subject that it names, the server's own interface among them.
// The guard puts back what was changed, and has all connections opened anew: what the changed
// stream took may have shown where they await answers.

// watch has every change of a stream looked at.
func (k *keeper) watch() {
	k.touched.Store(true)
	for _, what := range []string{"CREATED", "UPDATED"} {
		_, _ = k.nc.Subscribe("$JS.EVENT.ADVISORY.STREAM."+what+".>", func(*nats.Msg) { // fails on a closed connection only
			k.touched.Store(true)
			k.stream.changed()
		})
	}
}

// guard puts back what others changed.
func (k *keeper) guard(ctx context.Context) error {
	if !k.touched.Swap(false) {
		return nil
	}
	what, err := k.putBack(ctx)
	if err != nil {
		k.touched.Store(true)
		return err
	}
	if what == "" {
		return nil
	}
	k.queue.Log.Warn("a NATS client got around what it may not do; this is put back, and the queue's server started anew",
		"stream", k.stream.name, "what", what)
	if err := k.queue.server.renew(ctx); err != nil {
		return err
	}
	return fmt.Errorf("put back: %s", what)
}

func (k *keeper) putBack(ctx context.Context) (what string, err error) {
	list := k.js.ListStreams(ctx)
	for info := range list.Info() {
		c := &info.Config
		want := k.queue.config(c.Metadata)
		switch {
		case c.Name == k.queue.Stream && changed(c, &want):
			what = "it changed how the stream keeps its messages"
			_, err = k.js.UpdateStream(ctx, want)
		case slices.ContainsFunc(c.Subjects, takesReserved):
			what = "it made the stream " + c.Name + " for the engine's own subjects"
			err = k.js.DeleteStream(ctx, c.Name)
		}
		if err != nil {
			return "", err
		}
	}
	return what, list.Err()
}

// takesReserved tells whether a stream's subject takes what only this process may say.
func takesReserved(subject string) bool {
	first, _, _ := strings.Cut(subject, ".")
	return first == reserved || first == "*" || first == ">"
}

// changed tells whether somebody else changed a stream, in what its messages depend on; its bound
// may be another.
func changed(have, want *jetstream.StreamConfig) bool {
	return !slices.Equal(have.Subjects, want.Subjects) || have.Discard != want.Discard || have.Retention != want.Retention ||
		have.MaxMsgs != want.MaxMsgs || have.MaxAge != 0 || have.MaxMsgsPerSubject > 0 || have.MaxMsgSize > 0 ||
		!have.AllowDirect || !have.AllowAtomicPublish || have.NoAck || have.Sealed || have.AllowRollup || have.AllowMsgTTL ||
		have.RePublish != nil || have.SubjectTransform != nil || have.Mirror != nil || len(have.Sources) > 0
}
