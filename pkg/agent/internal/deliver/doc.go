// Package deliver keeps what containers read their secrets from: one folder for each
// container in memory of the host (a tmpfs), and copies of ktrdr-exec by content. It
// writes values only into memory, opens none, and asks no engine. Called by pkg/agent
// (wiring, house-keeping) and pkg/agent/apply.
package deliver
