// Package fleet is the fleet as operators see and steer it: FleetService and NodeService, the
// gate that every change of the desired state passes, and the driver that brings the accepted
// head to the nodes by waves.
//
// It never reads or holds a secret value, and never decides who may call what: that is
// pkg/controller/access. What it knows of nodes comes from pkg/controller/hub, decisions of a
// rollout from pkg/controller/rollout, commits from pkg/controller/repo; all that lasts is in
// pkg/controller/store.
//
// pkg/controller wires it.
package fleet
