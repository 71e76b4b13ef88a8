// Package web is what the controller's port serves to those who don't speak gRPC: git, the
// list of replicas for Prometheus (http_sd), the webhook of a followed repository, and whether
// the controller is up.
//
// It never answers anybody of whom pkg/controller/access does not know who it is, but for
// the webhook, which is signed, and /healthz, which tells nothing. pkg/controller wires it.
package web
