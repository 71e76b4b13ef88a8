// Package leaks fails the tests of a package that leave goroutines behind, with patience for slow
// machines. Only tests call it.
package leaks
