// Package sourcetest is the suite that every kind of source.Source passes. It only speaks through the interface and the
// tree on disk; what an origin is and how it is changed is the harness's business.
//
// Tests call it; no product code does.
package sourcetest
