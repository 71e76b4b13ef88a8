// Package uplinktest is a controller for tests of the agent's end: real TLS with a real
// authority, the real contract, and faults at any message. It keeps everything in memory
// and knows one node at a time.
//
// Tests call it; no product code does. pkg/controller is the real one.
package uplinktest
