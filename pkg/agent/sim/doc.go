// Package sim holds the simulation of the agent: the real cache, planner, loop and
// executor on a fake engine in virtual time, with faults, lost events and a crash before
// and after every call. It has no code outside of its tests.
package sim
