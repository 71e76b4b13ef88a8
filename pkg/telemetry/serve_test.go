package telemetry_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/telemetry"
)

// serve runs a server until the test ends and returns its address and how to stop it.
func serve(t *testing.T, h http.HandlerFunc) (address string, stop func() error) {
	t.Helper()
	l, err := telemetry.ListenTCP(t.Context(), telemetry.TCP{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Serve(ctx, l, h) }()
	t.Cleanup(cancel)
	return l.Addr().String(), func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			return errors.New("the server does not end")
		}
	}
}

// TestServeEndsLongPolls wants a request that waits for the end of its context to get its
// answer when the server stops.
func TestServeEndsLongPolls(t *testing.T) {
	waiting := make(chan struct{})
	address, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		<-r.Context().Done()
		fmt.Fprint(w, "nothing happened")
	})
	answered := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + address)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answered <- fmt.Sprint(string(body), err)
	}()
	<-waiting
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := <-answered; got != "nothing happened<nil>" {
		t.Errorf("the request got %q", got)
	}
}

func TestServeRefusesHugeHeaders(t *testing.T) {
	address, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}

// TestServeBoundsConnections fills all places and wants the next client to be served as
// soon as one of them goes.
func TestServeBoundsConnections(t *testing.T) {
	served := make(chan struct{}, 256)
	address, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stay" { // a connection without a request would be closed soon
			served <- struct{}{}
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, "ok")
	})
	var held []net.Conn
	for range 256 {
		c := dial(t, address)
		if _, err := fmt.Fprint(c, "GET /stay HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for i := range held {
		select {
		case <-served:
		case <-time.After(time.Minute):
			t.Fatalf("%d places are served, want %d", i, len(held))
		}
	}
	next := dial(t, address)
	if answers(t, next, time.Now().Add(300*time.Millisecond)) {
		t.Error("there is no bound")
	}
	if err := held[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := next.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(next).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("a place that was given back is not used: %q, %v", line, err)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answers sends a request and tells whether the answer begins before the deadline.
func answers(t *testing.T, c net.Conn, deadline time.Time) bool {
	t.Helper()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

func TestServeOnUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := telemetry.ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- telemetry.Serve(ctx, l, http.NotFoundHandler()) }()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if !answers(t, c, time.Now().Add(time.Minute)) {
		t.Error("no answer")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeReportsBrokenListener(t *testing.T) {
	l, err := telemetry.ListenTCP(t.Context(), telemetry.TCP{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := telemetry.Serve(t.Context(), l, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "serve 127.0.0.1:") {
		t.Errorf("got %v", err)
	}
}
