// Package image makes the demonstration images: it packs the ktrdrsim program into image archives from scratch and loads
// them into an engine through the Engine API, with no registry, no builder and no Docker client library.
//
// It never replaces or removes an image that it did not make: a tag that names another image is an error. Tests, the
// quickstart and the bench call it.
package image
