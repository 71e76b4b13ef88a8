// Package controller is ktrdr-controller: its configuration, and the wiring of its parts to one
// process (docs/architecture.md). Run opens the store, the repository and the port, and ends
// gracefully; Init makes a fleet's authority and its first admin; AddOperator is the way back
// in for who has the machine; Backup and Restore keep the store safe, and move it.
//
// It holds no logic of its own beyond order of start and stop. It never links the agent and
// never sees a secret value of the fleet. cmd/controller calls it.
package controller
