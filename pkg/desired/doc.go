// Package desired turns the bytes of a desired-state repository into the parsed,
// validated slice of one node.
//
// Load reads fleet.yaml, the node's file and the stacks that run on it, resolves
// variables, runs the Compose files through pkg/desired/compose, applies pools and checks
// what only the whole node shows: ports, names, projects, memory. Validate does that for
// every node and looks at the rest of the repository. Both report all problems at once,
// each with its place.
//
// The package never leaves the repository's folder (os.Root), never resolves a secret,
// never prints the value of a variable, opens no connection and keeps no state, but for what
// Validate and a Slicer remember of one tree while they read it for many nodes. Agents,
// the controller's push check and `ktrdrctl validate` and `plan` call it.
package desired

//go:generate go run ./internal/schema/gen ../api ../../schemas
