// Package applet is the command line of the demonstration image: one program that answers to the names which the user's
// Compose files and healthchecks call (sh, curl, python -m uvicorn, pg_isready, sleep, prometheus and so on).
//
// It covers what those files need and refuses the rest with exit code 2; it is no shell and no coreutils. main calls it.
package applet
