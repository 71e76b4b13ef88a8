package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"ktrdr.io/fleet/test/look"
)

// docker is an engine's API without any client of the product: a second pair of eyes.
type docker struct{ socket string }

// machine is the engine of the machine that the tests run on.
func machine() docker { return docker{socket: "/var/run/docker.sock"} }

// prefix begins the name of every project of these tests: what carries it is removed.
const prefix = "e2e"

// errNotFound says that the engine knows no such object.
var errNotFound = errors.New("not found")

// request is a call with one more header.
type request struct{ method, path, header, value string }

func (d docker) call(ctx context.Context, method, path string, body, out any) error {
	return d.send(ctx, request{method: method, path: path}, body, out)
}

// quietly calls the engine at the end of a test, whatever comes of it.
func (d docker) quietly(method, path string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = d.call(ctx, method, path, nil, nil)
}

func (d docker) doAs(t testing.TB, r request, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.send(ctx, r, nil, out); err != nil {
		t.Fatal(err)
	}
}

func (d docker) send(ctx context.Context, r request, body, out any) error {
	method, path := r.method, r.path
	client := http.Client{Transport: look.Socket(d.socket)}
	var in io.Reader
	if archive, ok := body.([]byte); ok {
		in = bytes.NewReader(archive)
	} else if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/v1.41"+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if r.header != "" {
		req.Header.Set(r.header, r.value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %s: %w", method, path, data, errNotFound)
	case resp.StatusCode >= 400:
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = data
		return nil
	default:
		return json.Unmarshal(data, out)
	}
}

func (d docker) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return d.call(ctx, http.MethodGet, "/info", nil, nil) == nil
}

// do calls the engine and ends the test when that fails.
func (d docker) do(t testing.TB, method, path string, body, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.call(ctx, method, path, body, out); err != nil {
		t.Fatal(err)
	}
}

func (d docker) post(t testing.TB, path string, body any) {
	t.Helper()
	d.do(t, http.MethodPost, path, body, nil)
}

func (d docker) remove(t testing.TB, name string) {
	t.Helper()
	d.do(t, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil)
}
