// Package wire is what agents, controller and ktrdrctl share of the network: the one port
// of a controller (Port), TLS of both sides, the settings of gRPC, the first and the next
// certificate of a node (Join, Renew), and the conversions between the contract in
// proto/ktrdr/v1 and the nouns of pkg/api.
//
// It decides nothing about desired state and nothing about who may do what: roles are
// pkg/controller/access. No message that it converts carries the value of a secret.
//
// The controller serves with it; agents and ktrdrctl dial with it.
package wire
