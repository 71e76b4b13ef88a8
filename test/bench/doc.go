// Command bench measures what docs/benchmarks.md lists, on the Docker engine of this
// machine, and prints one table. Every figure stands beside a floor that was measured in
// the same run: the same calls made raw over the Engine API, and docker compose where it
// can be built. Floor and measure take turns, so that the load of the machine falls on
// both; what counts are the ratios, not the times.
//
// It never fails because something is slow, and never touches a container, network or
// volume that it did not make. Run it from the module's root: `make bench`.
package main
