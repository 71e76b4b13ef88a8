// Package schema makes the JSON Schemas of the kinds from their Go types and comments, for
// editors. It never validates: package desired does, and says more.
//
// `go generate ./pkg/desired` calls it through the program in gen; a test compares.
package schema
