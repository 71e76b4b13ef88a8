// Package wiretest proves that conversions lose nothing: it fills every field of a noun,
// so that a field added later fails the test of its conversion, and finds fields of a
// message that a conversion leaves out.
//
// It never knows any particular noun. Tests of pkg/wire and pkg/wire/plans call it.
package wiretest
