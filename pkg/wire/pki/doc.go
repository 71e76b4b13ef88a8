// Package pki is who is who in a fleet: the authority that the controller has, the
// certificates of controllers, nodes and operators, the tokens with which they ask for the
// first one, and the folder in which an agent or an operator keeps its own.
//
// It decides who a peer is (IdentityOf), never what that one may do: roles and revocation
// are the controller's. It makes no network call and keeps no token; of a token's secret
// only Hash may be stored. A private key is made where it is used and never travels.
//
// The controller issues, the agent and ktrdrctl keep a KeyStore, pkg/wire puts the
// certificates into TLS.
package pki
