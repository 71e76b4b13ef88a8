// Package peers brings commands to nodes whose agents are connected to another controller of the
// fleet, and their answers back (ControllerService). Both sides show certificates of the fleet's
// authority: the one who asks ktrdr://controller/<id>, which may make these two calls and nothing
// else.
//
// Controllers read each other's events likewise: each has those of its own nodes.
//
// It forwards commands that its own controller has found the caller entitled to, one step and
// never further, and says for whom. It decides nothing and keeps nothing but connections.
//
// pkg/controller wires it; pkg/controller/hub forwards by it.
package peers
