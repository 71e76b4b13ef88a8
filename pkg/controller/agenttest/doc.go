// Package agenttest is an agent without an engine: it speaks the contract with a controller,
// checks what it is sent, and says about it what a test wants. Tests of the controller call it.
package agenttest
