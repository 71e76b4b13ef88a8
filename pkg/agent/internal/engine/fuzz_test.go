package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// answering is a transport of an engine whose every answer is the same, but for the one to the
// first question, which says that it is an engine. A question that the client has given up may
// still be read when the next answers are set.
func answering(t testing.TB) (c *engine.Client, answer *atomic.Pointer[[]byte], tty *atomic.Value) {
	t.Helper()
	answer, tty = new(atomic.Pointer[[]byte]), new(atomic.Value)
	answer.Store(new([]byte))
	tty.Store("")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case tty.Load() != "" && strings.HasSuffix(r.URL.Path, "/json"):
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"Id":"x","Config":{"Tty":%s}}`, tty.Load())
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(*answer.Load())
		}
	}))
	t.Cleanup(server.Close)
	c, err := engine.New(engine.Config{Host: "tcp://" + server.Listener.Addr().String(), Query: time.Minute, Change: time.Minute, PullIdle: time.Minute, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, answer, tty
}

// FuzzAnswers gives anything as the answer to every question that reads.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `[null]`, `[{}]`, `[{"Id":"x","Names":[]}]`, `{"Containers":null}`,
		`{"Id":"x","Name":"/web","Config":{"Labels":null,"ExposedPorts":{"80/tcp":{}},"Env":["A"]},"State":{"Status":"running","Health":{"Status":"healthy","Log":[null]}},` +
			`"HostConfig":{"PortBindings":{"80/tcp":null,"81/udp":[{"HostIp":"","HostPort":"1"}]},"Binds":["","a","a:b:c:d",":"],"Mounts":[{}],"Links":["a"],"RestartPolicy":{}},` +
			`"Mounts":[{}],"NetworkSettings":{"Networks":{"n":null,"m":{"IPAMConfig":null,"Aliases":[""]}}}}`,
		`{"Id":"sha256:x","RepoDigests":["a@","@","a"],"Config":null}`, `{"IPAM":{"Config":[{"Subnet":"10.0.0.0/8","Gateway":""}]},"Options":null}`,
		`{"Type":"container","Action":"exec_start: x","Actor":{"ID":"x","Attributes":null}}` + "\n",
		`{"Descriptor":{"digest":"x"},"Platforms":[{}]}`, `{"errorDetail":{"message":"denied"},"error":"denied"}`,
	} {
		f.Add([]byte(seed))
	}
	c, answer, _ := answering(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		answer.Store(&data)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := c.InspectContainer(ctx, fakeID); err == nil && got.ID == "" {
			t.Error("a container without id is no error")
		}
		if list, err := c.List(ctx); err == nil {
			for _, one := range list.Containers {
				if one == nil {
					t.Error("a list has nothing in a place")
				}
			}
		}
		_, _ = c.Info(ctx)
		_, _ = c.InspectNetwork(ctx, "n")
		_, _ = c.InspectVolume(ctx, "v")
		_, _ = c.InspectImage(ctx, "i", "")
		_, _ = c.MeasureContainer(ctx, fakeID)
		_, _ = c.PastEvents(ctx)
		_, _ = c.AskRegistry(ctx, engine.PullRequest{Ref: "i"})
		_, _ = c.CreateNetwork(ctx, api.NetworkSpec{Name: "n"}, nil)
		_ = c.Pull(ctx, engine.PullRequest{Ref: "i"})
		if ctx.Err() != nil {
			t.Error("an answer keeps the client busy")
		}
	})
}

// FuzzLogs reads anything as the log of a container, without and with a terminal.
func FuzzLogs(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x052026-"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x202026-01-01T00:00:00.000000000Z a\n"))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x01x\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Add([]byte("2026-01-01T00:00:00.000000000Z text\r\n\nmore"))
	c, answer, tty := answering(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		answer.Store(&data)
		for _, has := range []string{"false", "true"} {
			tty.Store(has)
			total := 0
			_ = c.StreamLogs(t.Context(), engine.LogRequest{ID: fakeID, Tail: -1}, func(e engine.LogEntry) {
				total += len(e.Text)
				if strings.Contains(e.Text, "\n") && has == "true" {
					t.Errorf("a line of a terminal has an end in its middle: %q", e.Text)
				}
			})
			if total > len(data) {
				t.Errorf("%d bytes of log were read of %d", total, len(data))
			}
			_, _ = c.Logs(t.Context(), fakeID, 10)
		}
	})
}
