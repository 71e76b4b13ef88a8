// Package lab makes Docker hosts on one machine for tests, of two kinds.
//
// A Node is quick: a dockerd of its own in a mount and network namespace of its own, that
// can be hung, crashed and rebooted. A Machine is whole: an LXC container with systemd, a
// Docker engine, a disk of its own and a cable to a Network of the test's, on which all are
// found by name. A cable that is a Line can be slow, lossy or cut one way.
//
// Neither touches the machine's own engine or network. All processes, control groups,
// mounts and files carry the node's folder in their name or environment, by which Sweep
// finds what an aborted run left. Nodes need root and Debian's docker.io, iproute2 and
// util-linux; machines need lxc and what scripts/node-root.sh makes. Called by test/e2e,
// test/engines, test/nodes and test/fleet.
package lab
