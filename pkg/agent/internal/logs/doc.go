// Package logs reads the logs of a node's containers line by line: last lines, what comes,
// and containers that come, are replaced or restarted, also across restarts of the engine.
//
// A line leaves it whole and redacted, or not at all: entries that the engine cut are put
// together first, a line of which only the end is at hand is left out, and what is longer
// than a line may be is cut after it was redacted. It keeps nothing. pkg/agent wires it
// to the uplink.
package logs
