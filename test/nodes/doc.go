// Package nodes runs the agent as an operator does: installed as the README says, under its
// real systemd unit, on whole machines (LXC) with a Docker engine and a disk of their own,
// following a repository over ssh or https. It tests what the unit promises (readiness,
// watchdog, hardening, limits) and what happens to the host: power loss, reboot, upgrades,
// a full disk, a hang. It has no code outside of its tests.
//
// The machines are those of test/lab. Where they can't be had, all tests are skipped.
package nodes
