// Package lab makes whole Docker hosts on one machine for tests: each node has its own
// mount and network namespace, its own dockerd, and can be hung, crashed and rebooted.
//
// It never touches the machine's own engine, its network or its mounts: everything a node
// mounts is private to it, and all of its processes, control groups and files carry the
// node's folder in their name or environment, by which Sweep finds what an aborted run
// left. It needs root, and Debian's docker.io, iproute2 and util-linux. Called by test/e2e.
package lab
