// Package contract holds the HTTP bodies that KTRDR's backend and workers exchange, as the stand-in speaks them.
//
// It never does I/O of its own and keeps no state. The backend, worker and applet packages of ktrdrsim use it.
package contract
