// Package enroll lets machines become nodes and people operators, and remembers who is one:
// EnrollmentService and AccessService, join tokens, and the directory and the audit trail
// that pkg/controller/access asks and writes, all on the store.
//
// It never sees a private key, keeps no token but its hash, and never decides who may call
// what: that is pkg/controller/access.
//
// pkg/controller wires it; pkg/controller/fleet makes join tokens and removes nodes with it.
package enroll
