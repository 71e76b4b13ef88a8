package lab_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/lab"
)

// TestLine: a machine on a line of its own is found by name, a slow line is slow, a lossy
// one loses what it says and still carries, and one that is cut one way is deaf.
func TestLine(t *testing.T) {
	line := lab.NewLine(1)
	network, m := boot(t, lab.MachineOptions{Name: "node-l", Names: []string{"backend.lab"}, Line: line})
	listener, err := m.Listen(":8080")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	client := http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}}
	get := func(ctx context.Context, url string) (time.Duration, error) {
		began := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		_, err = io.Copy(io.Discard, resp.Body)
		return time.Since(began), err
	}
	for _, name := range []string{"node-l.lab", "backend.lab"} {
		if _, err := get(t.Context(), "http://"+name+":8080/"); err != nil {
			t.Errorf("by the name %s: %v", name, err)
		}
	}
	if out, err := m.Run(t.Context(), "getent", "hosts", "backend.lab"); err != nil || !strings.HasPrefix(out, m.Address) {
		t.Errorf("the machine finds %q (%v)", out, err)
	}
	if out, err := m.Run(t.Context(), "getent", "hosts", "nobody.lab"); err == nil {
		t.Errorf("the machine finds %q where nobody is", out)
	}
	if out, err := network.Command(t.Context(), "getent", "hosts", "node-l.lab").Output(); err != nil || !strings.HasPrefix(string(out), m.Address) {
		t.Errorf("a program on the network finds %q (%v)", out, err)
	}

	const each = 50 * time.Millisecond
	line.Set(lab.Fault{Delay: each}, lab.Fault{Delay: each})
	var took time.Duration
	took, err = get(t.Context(), "http://node-l.lab:8080/")
	if err != nil || took < 4*each { // connect, ask
		t.Errorf("over a line of %s each way it took %s (%v)", each, took, err)
	}
	t.Logf("a line of %s each way: a request takes %s", each, took.Round(time.Millisecond))

	line.Set(lab.Fault{Loss: 0.2}, lab.Fault{Loss: 0.2})
	before, _ := line.Counts()
	var lost, all int
	for i := 0; i < 5 || lost == 0 && i < 100; i++ { // chance may spare the first requests
		if _, err := get(t.Context(), "http://node-l.lab:8080/"); err != nil {
			t.Errorf("a lossy line: %v", err)
		}
		after, _ := line.Counts()
		lost, all = after.Lost-before.Lost, after.Lost-before.Lost+after.Carried-before.Carried
	}
	t.Logf("a line that loses 20 %%: lost %d of %d frames", lost, all)
	if lost == 0 || lost > all/2 {
		t.Errorf("lost %d of %d frames", lost, all)
	}

	line.Set(lab.Fault{}, lab.Fault{Loss: 1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := get(ctx, "http://node-l.lab:8080/"); err == nil {
		t.Error("an answer came over a line that is cut")
	}
	line.Set(lab.Fault{}, lab.Fault{})
	if _, err := get(t.Context(), "http://node-l.lab:8080/"); err != nil {
		t.Errorf("a mended line: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := network.Command(t.Context(), "ip", "-o", "link", "show").Output(); err != nil || strings.Contains(string(out), "port") {
		t.Errorf("links that are left: %s (%v)", out, err)
	}
}
