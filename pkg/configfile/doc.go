// Package configfile reads the YAML configuration of a program: strict, bounded, over the
// program's defaults, with errors that name file, line and column. It is the only reader of
// configuration of agent and controller; what a field may hold is theirs to say.
package configfile
