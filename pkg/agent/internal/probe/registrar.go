package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// maxRegistrar bounds an answer: some thousand entries.
const maxRegistrar = 1 << 20

// ErrNoAnswer wraps every failure to learn who is registered.
var ErrNoAnswer = errors.New("nobody can tell who is registered")

// Entry is one entry of a registrar's list.
type Entry map[string]json.RawMessage

// Text is a field of an entry as text: of a string its content, of a number, true or false
// what is written. It is empty for what is absent or of another kind.
func (e Entry) Text(field string) string {
	raw := bytes.TrimSpace(e[field])
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || raw[0] == 'n' {
		return ""
	}
	if raw[0] != '"' {
		return string(raw)
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// Matches tells whether an entry has all the fields.
func (e Entry) Matches(fields map[string]string) bool {
	for field, want := range fields {
		if _, there := e[field]; !there || e.Text(field) != want {
			return false
		}
	}
	return len(fields) > 0
}

// Registered asks a registrar for its list, within timeout: one GET, without credentials,
// proxies, redirects and compression, of at most 1 MiB. The answer is a JSON list of objects,
// or an object that has one list. Certificates are verified. Errors hold no content of an
// answer and no query.
func Registered(ctx context.Context, url string, timeout time.Duration) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	fail := func(err error) error { return fmt.Errorf("GET %s: %w: %w", withoutQuery(url), ErrNoAnswer, err) }
	body, err := list(ctx, url)
	if err != nil {
		return nil, fail(short(err))
	}
	entries, err := entriesOf(body)
	if err != nil {
		return nil, fail(err)
	}
	return entries, nil
}

func list(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	req.Header.Set("User-Agent", "ktrdr-agent/"+api.Version)
	req.Header.Set("Accept", "application/json")
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // nothing was written
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, fmt.Errorf("status %d: redirects are not followed, write the URL that answers", res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRegistrar+1))
	if err == nil && len(body) > maxRegistrar {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxRegistrar)
	}
	return body, err
}

var (
	errNotJSON = errors.New("the answer is not JSON")
	errNoList  = errors.New("the answer is neither a list of objects nor an object with one list of objects")
)

// entriesOf finds the list of an answer.
func entriesOf(body []byte) ([]Entry, error) {
	if !json.Valid(body) {
		return nil, errNotJSON
	}
	if entries, ok := entryList(body); ok {
		return entries, nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return nil, errNoList
	}
	var found []string
	for name, value := range object {
		if bytes.HasPrefix(bytes.TrimSpace(value), []byte("[")) {
			found = append(found, name)
		}
	}
	if len(found) == 1 {
		if entries, ok := entryList(object[found[0]]); ok {
			return entries, nil
		}
	}
	if len(found) > 1 {
		return nil, fmt.Errorf("the answer is an object with %d lists: nobody can tell which one is meant", len(found))
	}
	return nil, errNoList
}

func entryList(text []byte) ([]Entry, bool) {
	var entries []Entry
	if !strings.HasPrefix(string(bytes.TrimSpace(text[:min(len(text), 64)])), "[") || json.Unmarshal(text, &entries) != nil {
		return nil, false
	}
	return entries, true
}
