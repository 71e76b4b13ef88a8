package report_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/plan"
)

// FuzzRequest sends anything anywhere. Every answer is JSON (metrics are text), none is our
// own fault, and none that is a refusal reached the backend.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/events", "after=1&wait=1ns", "localhost", "", "")
	f.Add("POST", "/v1/hold", "", "127.0.0.1:1", "application/json", `{"stack":"core","why":"x","for":"1h"}`)
	f.Add("POST", "/v1/resume", "", "[::1]", "application/json; charset=utf-8", `{"stack":"core"}`)
	f.Add("POST", "/v1/plan", "", "localhost", "application/x-tar", "not a tar")
	f.Add("PATCH", "/metrics", "%zz", "evil", "x/y", "{")
	h := ready()
	f.Fuzz(func(t *testing.T, method, path, query, host, contentType, body string) {
		if values, err := url.ParseQuery(query); err != nil || len(values.Get("wait")) > 3 {
			t.Skip("long polls take their time")
		}
		r := request("GET", "/", body)
		r.Method, r.Host, r.URL = method, host, &url.URL{Path: path, RawQuery: query}
		r.Header.Set("Content-Type", contentType)
		b := &backend{}
		w := httptest.NewRecorder()
		h.Handler(b).ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if path != "/metrics" || w.Code != http.StatusOK {
			if !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%d is not JSON: %q", w.Code, w.Body)
			}
		}
		if w.Code >= 300 && (b.syncs > 0 || b.holds != nil) {
			t.Fatalf("%d, but the backend was asked", w.Code)
		}
	})
}

// FuzzUpload unpacks anything. Nothing appears outside of the folder, nothing inside leads
// out of it, and nothing stays.
func FuzzUpload(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b", Size: 3}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "a"}))
	f.Add(archive(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/x"}))
	f.Add(archive(f, tar.Header{Name: "a/u", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "m", Typeflag: tar.TypeSymlink, Linkname: "a/u/.."}))
	tmp := f.TempDir()
	f.Setenv("TMPDIR", tmp)
	h := ready()
	f.Fuzz(func(t *testing.T, body []byte) {
		r := request("POST", "/v1/plan", string(body))
		r.Header.Set("Content-Type", "application/x-tar")
		w := httptest.NewRecorder()
		h.Handler(&backend{tree: func(_ context.Context, dir string) ([]*plan.Plan, error) {
			return []*plan.Plan{}, inside(t, tmp, dir)
		}}).ServeHTTP(w, r)
		if w.Code >= 500 || w.Code == 422 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		requireEmpty(t, tmp)
	})
}

func inside(t *testing.T, tmp, dir string) error {
	t.Helper()
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) != 1 {
		t.Fatalf("beside the folder there is %v, %v", entries, err)
	}
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
			t.Fatalf("%s is %s", name, e.Type())
		}
		target, err := filepath.EvalSymlinks(name)
		if err == nil && target != dir && !strings.HasPrefix(target, dir+"/") {
			t.Fatalf("%s leads to %s", name, target)
		}
		return nil
	})
}
