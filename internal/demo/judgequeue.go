package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Left is what an ordinary NATS client finds in the queue when no engine runs any more.
type Left struct {
	Messages int64 `json:"messages"` // that are held; the last one stays, for the position that it carries
	Actions  int64 `json:"actions"`  // in them
	// LackedByCRM and LackedByWarehouse: of these, such as have not arrived there.
	LackedByCRM       int64 `json:"lacked_by_crm"`
	LackedByWarehouse int64 `json:"lacked_by_warehouse"`
	// Foreign: of these, such as the master has not.
	Foreign int64 `json:"foreign"`
	// Newest tells whether the last of them is the last action of the master.
	Newest bool `json:"newest"`
}

const queueTimeout = 20 * time.Second // for all that is asked of the queue

// JudgeQueue opens the queue's directory with a NATS server of its own and reads what is in it as
// any client would. No engine may run.
func JudgeQueue(ctx context.Context, dir, master, crm, warehouse string) (l Left, err error) {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	s, err := serveQueue(dir)
	if err != nil {
		return l, err
	}
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	actions, err := readQueue(ctx, s, &l)
	if err != nil {
		return l, fmt.Errorf("judge: read the queue in %s: %w", dir, err)
	}
	return l, l.compare(ctx, actions, master, crm, warehouse)
}

func serveQueue(dir string) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "judge", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: math.MaxInt64 / 4, // whatever the streams' own bounds are
	})
	if err != nil {
		return nil, fmt.Errorf("judge: open the queue in %s: %w", dir, err)
	}
	if s.Start(); !s.ReadyForConnections(queueTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("judge: the queue in %s does not open", dir)
	}
	return s, nil
}

// readQueue returns the numbers of the actions that the queue holds, in its order.
func readQueue(ctx context.Context, s *server.Server, l *Left) (actions []int64, err error) {
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, queueStream)
	if err != nil {
		return nil, err
	}
	const subject = queueStream + "." + pipeline
	for next := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return actions, nil
		}
		if err != nil {
			return nil, err
		}
		next = msg.Sequence + 1
		l.Messages++
		found, err := journaled(msg.Data)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", msg.Sequence, err)
		}
		actions = append(actions, found...)
	}
}

// journaled finds, in a CloudEvent, the number of the action that the clerks wrote.
func journaled(event []byte) (actions []int64, err error) {
	var e struct {
		Type string `json:"type"`
		Kind string `json:"waybillkind"`
		Data []struct {
			Entity string           `json:"entity"`
			Key    map[string]int64 `json:"key"`
		} `json:"data"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	if e.Kind != "" { // nothing of the clerks'
		return nil, nil
	}
	for _, c := range e.Data {
		if c.Entity == "journal" {
			actions = append(actions, c.Key["action"])
		}
	}
	if len(actions) != 1 {
		return nil, fmt.Errorf("an event %s with %d actions in it", e.Type, len(actions))
	}
	return actions, nil
}

// compare looks the actions up at the master and at both targets.
func (l *Left) compare(ctx context.Context, actions []int64, master, crm, warehouse string) error {
	l.Actions = int64(len(actions))
	list, err := json.Marshal(actions)
	if err != nil {
		return err
	}
	const lacks = `select count(*) from json_each(?) q where q.value not in (select action from receipt)`
	if actions == nil {
		list = []byte("[]")
	}
	ask := func(path, query string, into any) (err error) {
		db, err := openDB(path, 1, "query_only(1)")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		var args []any
		if strings.Contains(query, "?") {
			args = append(args, string(list))
		}
		if err := db.QueryRowContext(ctx, query, args...).Scan(into); err != nil {
			return fmt.Errorf("judge: %w in: %s", err, query)
		}
		return nil
	}
	var newest sql.NullInt64
	err = errors.Join(ask(crm, lacks, &l.LackedByCRM), ask(warehouse, lacks, &l.LackedByWarehouse),
		ask(master, lacks, &l.Foreign), ask(master, `select max(action) from journal`, &newest))
	if err != nil {
		return err
	}
	l.Newest = l.Actions > 0 && newest.Valid && actions[len(actions)-1] == newest.Int64
	return nil
}
