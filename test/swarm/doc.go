// Command swarm is many agents in one process, for measures of a controller: each joins
// with a token of its own, keeps a real mTLS stream, takes its slices and reports a fleet of
// services as converged. It has no engine and applies nothing.
//
// Started by test/bench. It reads "<node> <join token>" lines from standard input and
// writes one JSON object a line to standard output: who is connected, and which slice
// arrived when.
package main
