// Package enginetest has an in-memory engine (Fake) and the conformance suite (Run) that
// it and the real client both pass, so that what is proved on the fake holds for Docker.
//
// The fake behaves as Docker 20.10 does as far as an agent can see it: states, restart
// policies, healthchecks, networks, ports, events and their order. Time is package time,
// so a test in a synctest bubble decides it. Faults are asked for by methods (Crash,
// Hang, Freeze, DropEvents) and by the hooks before and after each call. It runs no
// process and is no part of a program: only tests import it.
package enginetest
