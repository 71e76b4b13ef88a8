package image_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ktrdr.io/fleet/test/demo/image"
)

// foreignEngine holds the user's own prom/prometheus:latest, which lacks our label, and an image of ours that another test
// tagged in its own repository.
func foreignEngine(t *testing.T, changes *atomic.Int32) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"Arch":"amd64"}`)) })
	mux.HandleFunc("GET /images/prom/prometheus:latest/json", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"Id":"sha256:1","Config":{"Labels":{"other":"x"}}}`))
	})
	mux.HandleFunc("GET /images/json", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("filters") != `{"label":["io.ktrdr.demo"]}` {
			http.Error(w, "a list of all images", http.StatusBadRequest)
			return
		}
		_, _ = w.Write([]byte(`[{"RepoTags":["somebody/else:1"]},{"RepoTags":null}]`))
	})
	mux.HandleFunc("GET /images/", http.NotFound)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		changes.Add(1)
		w.WriteHeader(http.StatusOK)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestForeignImagesAreNeverTouched(t *testing.T) {
	var changes atomic.Int32
	opts := image.Options{Host: foreignEngine(t, &changes)}
	_, err := image.Build(t.Context(), opts)
	if err == nil || !strings.Contains(err.Error(), "prom/prometheus:latest exists") {
		t.Errorf("build: %v", err)
	}
	removed, err := image.Remove(t.Context(), opts)
	if err != nil || len(removed) != 0 {
		t.Errorf("remove: %v, %v", removed, err)
	}
	if n := changes.Load(); n != 0 {
		t.Errorf("the engine was asked for %d changes", n)
	}
}

// The engine answers 200 before it looks at the archive.
func TestErrorInTheStreamOfALoadIsAnError(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"Arch":"amd64"}`)) })
	mux.HandleFunc("GET /images/", http.NotFound)
	mux.HandleFunc("POST /images/load", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"stream":"x"}` + "\n" + `{"error":"no space left on device"}`))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := image.Build(t.Context(), image.Options{Host: srv.URL, Program: program})
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("build: %v", err)
	}
}

func TestHostsThatAreNoEngineAreRefused(t *testing.T) {
	for _, host := range []string{"ssh://node", "unix://relative", "/var/run/docker.sock", "tcp://"} {
		if _, err := image.Build(t.Context(), image.Options{Host: host}); err == nil || !strings.Contains(err.Error(), "engine host") {
			t.Errorf("host %q: %v", host, err)
		}
	}
}
