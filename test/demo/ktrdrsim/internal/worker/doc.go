// Package worker is the stand-in for KTRDR's backtest and training workers.
//
// It registers itself with a backend, is busy for as long as an operation says, and saves a checkpoint when it is
// stopped while training. It never computes anything and never guesses its own public URL. The applet package calls it.
package worker
