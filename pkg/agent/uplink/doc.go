// Package uplink is the agent's end of the one stream to its controller: it keeps the
// stream open (Link), feeds the slices that come to a source.Stream, tells status, events
// and what became of slices, and runs commands.
//
// Whatever comes is checked and bounded before it is used; whatever leaves goes through
// one redactor of free texts (scrub). It decides nothing: desired state goes the way of
// every other source, commands go to a Backend. Without a controller it only tries to
// reach one; nothing else of the agent waits for it.
//
// docs/spec/uplink.md says what a node does and sends. pkg/agent wires it.
package uplink
