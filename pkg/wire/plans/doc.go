// Package plans converts what the planner and the parser say to the contract and back:
// plans without what only apply needs, and problems with their places.
//
// It is apart from pkg/wire so that who wants a status does not get the planner and the
// parser with it. It never touches what a plan holds for apply: specs, digests of secrets.
//
// The agent sends plans, the controller problems, ktrdrctl reads both.
package plans
