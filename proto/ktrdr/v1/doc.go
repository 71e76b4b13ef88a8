// Package ktrdrv1 is the contract between agents, the controller and ktrdrctl: generated
// code of the .proto files beside it.
//
// It never has a field that carries the value of a secret: references only. pkg/wire
// converts its messages to and from pkg/api; nobody else looks into them.
package ktrdrv1

//go:generate sh -c "cd ../.. && exec go tool -modfile=../tools/buf/go.mod buf generate"
