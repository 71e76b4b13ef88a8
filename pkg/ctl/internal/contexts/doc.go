// Package contexts is the file in which an operator keeps whom ktrdrctl talks to: fleets
// with their authority and credentials, and agents.
//
// The file is refused when others can read it, is replaced as a whole or not at all, and no
// error quotes from it. The package dials nobody. pkg/ctl calls it.
package contexts
