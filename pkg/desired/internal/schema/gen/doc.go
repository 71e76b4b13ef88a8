// Package main writes the JSON Schemas of the kinds: gen <folder of package api> <folder
// for the schemas>. It does nothing else; `go generate ./pkg/desired` calls it.
package main
