// Package inproc lets handlers call each other by host name within one process, without sockets, so that tests can run a
// backend and its workers on virtual time.
//
// It opens no connection. Only tests import it.
package inproc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Network is a set of hosts. It is safe for concurrent use.
type Network struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

// New returns a network without hosts.
func New() *Network { return &Network{hosts: map[string]http.Handler{}} }

// Up makes host (name:port) answer with handler.
func (n *Network) Up(host string, handler http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = handler
}

// Down makes calls to host fail.
func (n *Network) Down(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hosts, host)
}

// Client returns a client whose calls stay within the network.
func (n *Network) Client() *http.Client { return &http.Client{Transport: n} }

// RoundTrip implements http.RoundTripper.
func (n *Network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	handler, ok := n.hosts[r.URL.Host]
	n.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("dial %s: connection refused", r.URL.Host)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}
