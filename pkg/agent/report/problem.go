package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Reasons of refused requests, beside those of package api.
const (
	reasonBad       = "BadRequest"
	reasonNotFound  = "NotFound"
	reasonMethod    = "MethodNotAllowed"
	reasonForbidden = "Forbidden"
	reasonTooLarge  = "TooLarge"
	reasonMedia     = "UnsupportedMediaType"
	reasonBusy      = "Busy"
	reasonTimeout   = "Timeout"
	reasonInternal  = "Internal"
	reasonHung      = "LoopHangs"
	reasonNotReady  = "NotReady"
)

// problem is an answer that is no success.
type problem struct {
	status int
	Text   string `json:"error"`
	Reason string `json:"reason"`
	// Field is the parameter or the part of the body that is wrong.
	Field string `json:"field,omitzero"`
}

// Error implements error.
func (p *problem) Error() string { return p.Text }

func (p *problem) write(w http.ResponseWriter) { writeJSON(w, p.status, p) }

func badField(field, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, Reason: reasonBad, Text: fmt.Sprintf(format, args...), Field: field}
}

func asProblem(err error) *problem {
	var p *problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large):
		return &problem{
			status: http.StatusRequestEntityTooLarge, Reason: reasonTooLarge, Text: fmt.Sprintf("the body has more than %d bytes", large.Limit),
		}
	}
	return &problem{status: http.StatusInternalServerError, Reason: reasonInternal, Text: err.Error()}
}

// writeJSON writes a whole answer; what can't be encoded becomes one that says so. A client
// that is gone is nobody's error.
func writeJSON(w http.ResponseWriter, status int, body any) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		status = http.StatusInternalServerError
		out.Reset()
		fmt.Fprintf(&out, "{\"error\":%q,\"reason\":%q}\n", "encode the answer", reasonInternal)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}
