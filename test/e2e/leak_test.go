package e2e_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/test/canary"
)

// nasty is a value that breaks every way of quoting by hand; nastyCore finds it wherever it
// turns up.
const (
	nastyCore = "canary-6c1f9e"
	nasty     = "q'uo\"te$HOME`id`\\back\nnew " + nastyCore + " ümlaut"
)

// leaks searches all that the engine keeps and tells of the agent's containers, and all
// that the agent keeps on disk and says, for the canary. A positive control proves each
// search: the marker is known to be there.
func (a *agent) leaks(t testing.TB, since time.Time) {
	t.Helper()
	for _, name := range a.on.names(t, a.project) {
		var raw []byte
		a.on.do(t, http.MethodGet, "/containers/"+name+"/json?size=1", nil, &raw)
		a.clean(t, "inspect of "+name, raw, "op://e2e/core/nasty")
		a.on.do(t, http.MethodGet, "/containers/"+name+"/logs?stdout=1&stderr=1", nil, &raw)
		a.clean(t, "log of "+name, raw, "")
		a.clean(t, "argv in "+name, []byte(a.on.top(t, name)), "")
		a.clean(t, "writable layer of "+name, a.on.layer(t, name), "")
	}
	var events []byte
	filter := url.QueryEscape(`{"type":["container"]}`)
	a.on.do(t, http.MethodGet, fmt.Sprintf("/events?since=%d&until=%d&filters=%s", since.Unix(), time.Now().Unix()+1, filter), nil, &events)
	a.clean(t, "events", events, a.project)
	a.clean(t, "log of the agent", []byte(a.log.String()), a.project)
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/metrics"} {
		_, body, err := a.ask(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		a.clean(t, path, body, "")
	}
	a.cleanTree(t, a.state, a.project)
	a.cleanTree(t, a.on.dataRoot(t)+"/containers", a.project)
	for _, dir := range []string{"/var/lib/containerd/io.containerd.metadata.v1.bolt", "/run/containerd", "/run/docker", a.on.dataRoot(t) + "/containerd"} {
		a.cleanTree(t, dir, "")
	}
}

// clean fails the test when data holds the canary in any form, or lacks the control.
func (a *agent) clean(t testing.TB, what string, data []byte, control string) {
	t.Helper()
	scanner := canary.New(canary.Secret{Name: "nasty", Value: nasty, Cores: []string{nastyCore}})
	for _, hit := range scanner.Text(what, string(data)) {
		t.Error(hit)
	}
	if control != "" && !bytes.Contains(data, []byte(control)) {
		t.Errorf("%s does not have %s either: the search proves nothing", what, control)
	}
}

// cleanTree searches the files of a folder.
func (a *agent) cleanTree(t testing.TB, dir, control string) {
	t.Helper()
	controlled := control == ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go
		}
		data, err := os.ReadFile(path) //nolint:gosec // a folder of the machine's engine
		if err != nil {
			return nil //nolint:nilerr // files come and go
		}
		a.clean(t, path, data, "")
		controlled = controlled || bytes.Contains(data, []byte(control))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !controlled {
		t.Errorf("no file below %s has %s: the search proves nothing", dir, control)
	}
}

// layer reads the files of a container that are not its image's.
func (d docker) layer(t testing.TB, name string) []byte {
	t.Helper()
	var changes []struct{ Path string }
	d.do(t, http.MethodGet, "/containers/"+name+"/changes", nil, &changes)
	changed := map[string]bool{}
	for _, c := range changes {
		changed[c.Path] = true
	}
	var export []byte
	d.do(t, http.MethodGet, "/containers/"+name+"/export", nil, &export)
	var out bytes.Buffer
	for archive := tar.NewReader(bytes.NewReader(export)); ; {
		header, err := archive.Next()
		if err != nil {
			return out.Bytes()
		}
		if changed["/"+header.Name] {
			_, _ = io.Copy(&out, archive) //nolint:gosec // a test's own small image
		}
	}
}
