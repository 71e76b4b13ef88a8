// Package connect resolves op:// references through a 1Password Connect server: a read-only
// client of its REST API with the types of 1Password's connect-sdk-go. The SDK's own client
// has no contexts, time limits, TLS settings or retries, and takes a refusal for an empty list.
//
// The steady state is one small request per look, the list of vaults with their content
// versions. Only where one moved are the vault's items listed and those read that changed;
// an item is read once however many references point into it.
//
// It never writes to the server, follows no redirect, and puts nothing that a server
// answers into an error. Called by pkg/agent, which gives it to the secrets.Store.
package connect
