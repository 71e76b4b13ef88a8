// Package packaging holds what installers put on a machine, for the program that installs
// itself (`ktrdr-agent join`). It does nothing.
package packaging
