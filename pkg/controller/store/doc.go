// Package store is the controller's only memory: etcd through clientv3, embedded in the
// process by default, an external cluster by configuration, with the same code for both.
//
// It keeps typed records (nodes, join tokens, operators, the accepted head, rollouts, newest
// statuses, connections, audit) and decides races between controllers: every decision is one
// etcd transaction that compares what it read. It leases what must disappear with a
// controller, and elects the one that drives rollouts. docs/spec/store.md lists keys,
// formats and retention.
//
// It never opens a port (the embedded server has no listener at all), never holds a secret,
// only SHA-256 digests of tokens of high entropy, and never decides what a record means: the
// opaque parts (statuses, rollouts) are their owners' bytes.
//
// pkg/controller opens it; hub, fleet and web read and write records. It is the only importer
// of etcd.
package store
