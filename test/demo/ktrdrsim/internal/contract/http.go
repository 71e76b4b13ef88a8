package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxBody bounds every body that is read, in bytes.
const maxBody = 1 << 20

// ErrStatus is wrapped by the errors of Call for an answer outside 2xx.
var ErrStatus = errors.New("unexpected status")

// StatusError carries the code of an answer outside 2xx and the detail that came with it.
type StatusError struct {
	Code   int
	Detail string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Detail) }

// Unwrap makes errors.Is(err, ErrStatus) true.
func (e *StatusError) Unwrap() error { return ErrStatus }

// ValidateBaseURL accepts an absolute http or https URL and names field in its error.
func ValidateBaseURL(field, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%s: want an absolute http URL", field)
	}
	return nil
}

// WriteJSON answers with code and body.
func WriteJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that has gone away is the only way for this to end early, and there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// Refuse answers with a Problem.
func Refuse(w http.ResponseWriter, code int, detail string) {
	WriteJSON(w, code, Problem{Detail: detail})
}

// ReadJSON decodes a request of at most 1 MiB; an empty body leaves into as it was.
func ReadJSON(w http.ResponseWriter, r *http.Request, into any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("request body: %w", err)
	}
	return nil
}

// Call sends in (nil = no body) and decodes the answer into out (nil = drop it). An answer outside 2xx is a *StatusError.
func Call(ctx context.Context, client *http.Client, method, target string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode body of %s %s: %w", method, target, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("prepare %s %s: %w", method, target, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("call: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, target, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, target, &StatusError{Code: resp.StatusCode, Detail: problemOf(raw)})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("decode answer of %s %s: %w", method, target, err)
	}
	return nil
}

func problemOf(raw []byte) string {
	var p Problem
	if json.Unmarshal(raw, &p) != nil || p.Detail == "" {
		return "no detail"
	}
	return p.Detail
}
