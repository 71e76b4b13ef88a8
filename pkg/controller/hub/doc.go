// Package hub holds the streams of the agents (AgentService): it greets a node, sends it the
// slice that the newest rollout gives it, answers requests for contents, keeps what the node
// says about itself, and brings commands to it and their answers back.
//
// A node is who its certificate says; it gets its own slice only and reports about itself
// only. Everything that comes from a node is bounded. Each session has its own goroutines
// and bounded memory, so that a slow agent delays nobody else. The hub decides nothing: what
// a node is to have follows from the rollout's record in etcd (pkg/controller/rollout), which
// the hub watches. Newest statuses and where a node is connected are in etcd too, so that
// every controller knows of nodes that are at another one.
//
// pkg/controller wires it; pkg/controller/fleet and web read nodes and give commands.
package hub
