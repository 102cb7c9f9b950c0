// Package jetstream keeps streams of actions in NATS JetStream: a Writer that is also a
// Reader, and the server itself in this process.
//
// # Parts
//
//   - Server is a NATS server in this process, with JetStream in a directory that one process
//     has at a time. It listens only where it is asked to.
//   - Queue is one JetStream stream on it. Each Waybill stream that enters has one subject.
//   - Writer and Reader are the two facets of one subject.
package jetstream
