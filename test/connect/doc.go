// Package connect is a stand-in for a 1Password Connect server: its REST API over items
// in memory, from a fixture file or from Go, with each habit of real servers that clients
// trip over as a switch (Quirks).
//
// It follows 1Password's OpenAPI document, version 1.7.1, except for PATCH, which it
// refuses. Its tests compare every answer with that document where it is at hand, and run
// 1Password's own Go SDK against it. Nothing in it is secret: the values are those of the
// fixture. Tests of the Connect provider and the quickstart use it; no product code may.
package connect
