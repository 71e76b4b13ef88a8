// Package join makes a machine a node of a controller's fleet, and takes it out again
// (`ktrdr-agent join`, `ktrdr-agent leave`): it checks first, gets the certificate, and
// then writes configuration and unit and starts the agent.
//
// It says each step, stops at the first that fails with what to do about it, and can be
// run again: what is done already is not done twice. A join token comes from a file or
// the standard input, is sent to the controller that it pins, and goes nowhere else. It
// touches no container. pkg/agent calls it for the program.
package join
