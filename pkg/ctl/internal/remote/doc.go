// Package remote is ktrdrctl's connection to a controller: one dial with the fleet's
// authority and the operator's credentials, and errors that say what went wrong and what
// to do about it.
//
// It never tries a connection without TLS or another authority, and no error holds a
// token. pkg/ctl calls it.
package remote
