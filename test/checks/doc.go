// Package checks holds the rules about the repository that no linter sees: what
// a program may link, package documentation, file sizes, words and paths that
// don't belong, links in the documents.
//
// It has tests only and nothing calls it; `make check` runs them uncached,
// because the go command can't know that they read the whole tree.
package checks
