package controller

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		_ = conn.Close()
		t.Error("it waits for ever")
	}
}

// TestLongBackup goes on for longer than the server gives to other requests.
func TestLongBackup(t *testing.T) {
	const limit = 100 * time.Millisecond
	ended := make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := &patient{to: w, control: http.NewResponseController(w), stall: time.Minute}, error(nil)
		for end := time.Now().Add(5 * limit); err == nil && time.Now().Before(end); {
			if _, err = to.Write(make([]byte, 1<<10)); err == nil {
				err = r.Context().Err()
			}
		}
		ended <- err
	}))
	server.Config.ReadHeaderTimeout, server.Config.ReadTimeout, server.Config.WriteTimeout = limit/2, limit, limit
	server.Start()
	defer server.Close()
	answer, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
