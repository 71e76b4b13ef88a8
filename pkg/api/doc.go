// Package api holds the nouns of ktrdr fleet: the kinds of desired state, the
// container model that desired state resolves to, what an engine was observed to
// hold, conditions, reasons and status.
//
// It does no I/O, reads no clock and imports no other package of this module.
// Every other package calls it; a new noun goes into docs/nomenclature.md first.
package api
