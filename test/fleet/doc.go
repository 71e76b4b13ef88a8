// Package fleet runs the whole product as its user does: a controller and four nodes, each a
// machine of its own (LXC, systemd, the Debian packages, on the nodes a Docker engine), a
// working copy from which desired state is pushed over https, and ktrdrctl. It tests what only
// several machines show: packages from installation to purge, joining, rollouts by waves,
// faults of links and programs under load, and that no secret leaves its node. It has no code
// outside of its tests.
//
// The machines are those of test/lab; all tests share them, one after the other. Where they
// can't be had, all tests are skipped.
package fleet
