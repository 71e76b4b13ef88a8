// Package keyvault resolves akv:// references from Azure Key Vault with Microsoft's azsecrets
// client, as a managed identity or with credentials from the environment.
//
// A look is one request for each secret; Key Vault has no cheaper one that needs no right
// to list. It never writes, follows no redirect, and puts nothing that Azure answers into
// an error. Called by pkg/agent, which gives it to the secrets.Store.
package keyvault
