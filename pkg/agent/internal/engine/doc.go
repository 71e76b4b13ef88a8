// Package engine speaks to one Docker engine: it lists and watches what the engine
// holds (Client, Cache) and has one method for each operation of a plan. It is the only
// importer of the Docker client.
//
// It decides nothing. Every call has a time limit, because a stopped engine accepts
// connections and never answers. Called by pkg/agent/apply and pkg/agent.
package engine
