// Package monitor shows over HTTP what the pipelines of one engine are doing.
//
// # Promise
//
// What is shown is what the meters hold at that moment, never a guess: what is unknown is
// absent or -1. /readyz fails when data has stopped progressing, not only when the process is
// dead. What can be changed here is what is paused, and nothing else; no secret is shown.
//
//	/         the pipelines as plain text
//	/status   the same as one JSON object
//	/healthz  200 while the process answers; never asks for the token
//	/readyz   200, or 503 with one reason a line
//	/metrics  Prometheus
//	/pause    POST {"pipeline": …, "target": …}; /resume likewise
//
// # Ready
//
// Not ready is a pipeline that failed or was stopped, that never reached both its ends, that
// has been trying again for longer than the stall time, or that has waiting actions of which
// the oldest is older than the stall time while nothing was written for as long. A pipeline
// standing by for another engine is ready: it does what it is there for, and a rolling
// replacement that waited for it would wait for ever. So is one that is paused: somebody wants it
// so. A source that is held back because the queue is full has been trying again.
//
// # Who may look
//
// A listener beyond the loopback interface needs a token, or Run refuses. With a token every
// path but /healthz asks for it ("Authorization: Bearer …"). A loopback listener answers only
// requests whose Host is a loopback name or address, so that a page in a browser on the same
// machine cannot read it under a name of its own (DNS rebinding). /pause and /resume take JSON
// only, and nothing that a browser sends from another origin.
//
// # Failures
//
// If the address is taken, Run warns and tries again every few seconds until it is free: an
// engine without its admin page still moves data.
package monitor
