package controller

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestStalledBackup ends: who takes nothing keeps the store from using freed space again.
func TestStalledBackup(t *testing.T) {
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		to := &patient{to: w, control: http.NewResponseController(w), stall: 50 * time.Millisecond}
		for {
			if _, err := to.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}))
	defer server.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = conn.Close()
		t.Error("it waits for ever")
	}
}
