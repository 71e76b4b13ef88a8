package recorder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one recorded request that makes something.
type Request struct {
	// Kind is "network", "volume", "container", "connect" or "files".
	Kind string
	// Name of what is made; for connect "<container> to <network>".
	Name string
	// Query of container create, without the name.
	Query string
	Body  map[string]any
}

// Recorder is the engine. Its fields are guarded by its lock; use its methods.
type Recorder struct {
	// Host is the address to give to a client: unix:///…
	Host string

	version  string
	lock     sync.Mutex
	requests []Request
	unknown  []string
	objects  map[string]map[string]any // kind/name: what inspect answers
	names    map[string]string         // kind/id: name
}

// Start serves an engine that speaks the given API version until the test ends.
func Start(t *testing.T, version string) *Recorder {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	listener, err := net.Listen("unix", socket) //nolint:noctx // never blocks
	if err != nil {
		t.Fatal(err)
	}
	r := &Recorder{
		Host: "unix://" + socket, version: version,
		objects: map[string]map[string]any{}, names: map[string]string{},
	}
	server := &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return r
}

// Requests returns what was recorded, sorted by kind and name.
func (r *Recorder) Requests() []Request {
	r.lock.Lock()
	defer r.lock.Unlock()
	all := slices.Clone(r.requests)
	slices.SortStableFunc(all, func(a, b Request) int { return strings.Compare(a.Kind+" "+a.Name, b.Kind+" "+b.Name) })
	return all
}

// Unknown returns requests that the recorder had no answer for: a recording with any is
// not to be trusted.
func (r *Recorder) Unknown() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Clone(r.unknown)
}

// Name returns the name of a container by its id.
func (r *Recorder) Name(id string) string {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.names["container/"+id]
}

// Provide makes an object that is there before, as external networks and volumes are.
func (r *Recorder) Provide(kind, name string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.put(kind, name, map[string]any{})
}

// ID is the id that objects of that name have.
func ID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "/" + name))
	return hex.EncodeToString(sum[:])
}

// put remembers an object; the lock is held.
func (r *Recorder) put(kind, name string, body map[string]any) string {
	id := ID(kind, name)
	r.objects[kind+"/"+name] = body
	r.names[kind+"/"+id] = name
	return id
}

// find returns an object by name or id; the lock is held.
func (r *Recorder) find(kind, ref string) (name string, body map[string]any, ok bool) {
	if body, ok = r.objects[kind+"/"+ref]; ok {
		return ref, body, true
	}
	name, ok = r.names[kind+"/"+ref]
	return name, r.objects[kind+"/"+name], ok
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func missing(w http.ResponseWriter, kind, ref string) {
	answer(w, http.StatusNotFound, map[string]string{"message": "No such " + kind + ": " + ref})
}
