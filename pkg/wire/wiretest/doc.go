// Package wiretest proves that conversions lose nothing: it fills every field of a noun,
// so that a field added later fails the test of its conversion, and finds fields of a
// message that a conversion leaves out. It also makes a connection behave as if its other
// end were of the last release (proto/released.binpb) or of the next.
//
// It never knows any particular noun. Tests of both ends of the wire call it.
package wiretest
