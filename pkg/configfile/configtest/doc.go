// Package configtest tests how a program treats a configuration that is invalid or that can't
// be read.
package configtest
