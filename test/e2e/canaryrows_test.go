package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// engineRows are what the engine tells of all containers but those that print secrets
// themselves.
func (w *canaryWorld) engineRows(t *testing.T) {
	get := func(path string) string {
		var raw []byte
		w.on.do(t, http.MethodGet, path, nil, &raw)
		return string(raw)
	}
	var list []struct{ Names []string }
	listed := get("/containers/json?all=1&size=1")
	if err := json.Unmarshal([]byte(listed), &list); err != nil {
		t.Fatal(err)
	}
	t.Run("inspect", func(t *testing.T) {
		text := get("/system/df") + listed
		for _, c := range list {
			if name := strings.TrimPrefix(c.Names[0], "/"); name != w.of("sick") {
				text += get("/containers/" + name + "/json?size=1")
			}
		}
		w.row(t, "list and inspect", text)
	})
	t.Run("events", func(t *testing.T) {
		text := get(fmt.Sprintf("/events?since=%d&until=%d", w.began.Unix(), time.Now().Unix()+1))
		for _, hit := range w.every.Text("events", text) {
			t.Error(hit)
		}
		if !strings.Contains(text, "exec_create: /.ktrdr/exec") {
			t.Error("no event tells of a healthcheck: the search proves nothing")
		}
	})
	t.Run("debug log", func(t *testing.T) {
		var kept strings.Builder
		for line := range strings.Lines(readFile(t, w.host.EngineLog())) {
			if !strings.Contains(line, "REGISTRY-SAYS") { // a registry's own words, which the engine logs
				kept.WriteString(line)
			}
		}
		w.row(t, "debug log of the engine", kept.String())
	})
	t.Run("commit and export", func(t *testing.T) {
		for _, name := range []string{w.name("web"), w.of("open")} {
			w.on.do(t, http.MethodPost, "/commit?container="+name+"&repo=e2e-canary&tag=committed", map[string]any{}, nil)
			var exported []byte
			w.on.do(t, http.MethodGet, "/containers/"+name+"/export", nil, &exported)
			for _, hit := range w.every.Text("export of "+name, string(exported)) {
				t.Error(hit)
			}
			saved := get("/images/e2e-canary:committed/get") + get("/images/e2e-canary:committed/json")
			if name == w.of("open") {
				w.row(t, "commit of "+name, saved)
				continue
			}
			for _, hit := range w.every.Text("commit of "+name, saved) {
				t.Error(hit)
			}
		}
	})
}

// diskRows are the agent's folders, git, and all that the engine has on its disk.
func (w *canaryWorld) diskRows(t *testing.T) {
	t.Run("state of the agent", func(t *testing.T) {
		planted := filepath.Join(w.state, "planted")
		writeFile(t, planted, w.nasty.Value, 0o600)
		tree, err := w.every.Tree(w.state, nil)
		if err != nil || tree.Files < 4 {
			t.Errorf("%d files, %v", tree.Files, err)
		}
		found := false
		for _, hit := range tree.Hits {
			if hit.Where != planted {
				t.Error(hit)
			}
			found = found || hit.Where == planted
		}
		if !found {
			t.Error("what was planted was not found")
		}
	})
	t.Run("git objects", func(t *testing.T) {
		for _, dir := range append(gitDirs(t, w.state), filepath.Join(w.bare, "objects"), filepath.Join(w.repo, ".git/objects")) {
			text := w.gitObjects(t, dir)
			for _, hit := range w.every.Text("objects of "+dir, text) {
				t.Error(hit)
			}
			if !strings.Contains(text, itemOfUser+"/nasty") {
				t.Errorf("objects of %s hold no desired state: the search proves nothing", dir)
			}
		}
	})
	t.Run("data and exec roots", func(t *testing.T) {
		printing := w.printing(t)
		tree, err := w.every.Tree(w.host.Dir, func(path string) bool {
			return path == w.host.EngineLog() || slices.ContainsFunc(printing, func(id string) bool { return strings.HasSuffix(path, "/containers/"+id) })
		})
		if err != nil {
			t.Fatal(err)
		}
		in := map[string]bool{}
		for _, hit := range tree.Hits {
			if hit.Secret != w.open.Name {
				t.Error(hit)
			}
			in[filepath.Base(hit.Where)] = true
		}
		if !in["config.v2.json"] || !in["meta.db"] {
			t.Errorf("of %d files, the secret that is there was found in %v only: the search proves nothing", tree.Files, in)
		}
	})
}

// printing are the ids of containers that printed secrets themselves: their logs and the
// engine's memory of their healthchecks hold them. The crashed one is gone by now.
func (w *canaryWorld) printing(t *testing.T) []string {
	t.Helper()
	return []string{w.on.must(t, w.of("sick")).ID}
}
