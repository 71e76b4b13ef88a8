// Package access decides who may do what: one table says which role each call needs, a
// Guard finds out who calls (client certificate, else token), asks the directory whether
// that one is still known, and refuses what is not in the table. It writes the audit trail,
// ends streams of those who lost their access, limits what strangers may try, and catches
// panics, for gRPC and for HTTP.
//
// It never issues certificates (pkg/controller/enroll), and keeps nothing itself: nodes,
// operators and the trail are in the store, behind Directory and Trail.
//
// pkg/controller puts its interceptors into the gRPC server and its middleware around HTTP;
// handlers ask CallerFrom who calls.
package access
