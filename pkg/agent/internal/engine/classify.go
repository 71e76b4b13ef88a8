package engine

import (
	"errors"

	"ktrdr.io/fleet/pkg/api"
)

// Failure says how the failure is to be treated. It makes *Error a reconcile.Classified.
func (e *Error) Failure() (api.ErrorClass, api.Reason) { return e.Class, e.Reason }

// Classify returns class and reason of an error of this package; any other error is a
// transient engine error.
func Classify(err error) (api.ErrorClass, api.Reason) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class, e.Reason
	}
	return api.Transient, api.ReasonEngineFailed
}
