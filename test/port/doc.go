// Package port gives tests addresses for programs that they start: what is asked for by port 0
// has to be closed before a program can have it, and then anybody may get it. Called by tests.
package port
