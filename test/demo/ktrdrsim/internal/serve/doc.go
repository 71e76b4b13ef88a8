// Package serve runs HTTP handlers on addresses until a context ends.
//
// It never decides what is served and never outlives its caller. The applet package calls it.
package serve
