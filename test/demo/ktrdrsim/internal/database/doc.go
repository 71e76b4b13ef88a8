// Package database is the stand-in for PostgreSQL: a port that becomes ready, and data in PGDATA that can be lost.
//
// It speaks a one-line protocol of its own, no SQL, and never checks a password. The applet package calls it.
package database
