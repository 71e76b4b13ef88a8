package engine_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
)

// secretOfTwoLines is cut, and folded into one line, by what keeps engines' texts short.
const secretOfTwoLines = "secret line one 7f3a\nsecret line two 7f3a"

// TestRedact: what an engine and the programs in its containers say is redacted before it
// is cut, so that no half of a secret is left.
func TestRedact(t *testing.T) {
	// The secret lies across the place where each text is cut.
	said := strings.Repeat("x", 490) + secretOfTwoLines + " end"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch {
		case strings.HasSuffix(r.URL.Path, "/exec"):
			_, _ = w.Write([]byte(`{"Id":"e"}`))
		case strings.HasSuffix(r.URL.Path, "/exec/e/start"):
			frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(said)))
			_, _ = w.Write(append(frame, said...))
		case strings.HasSuffix(r.URL.Path, "/exec/e/json"):
			_, _ = w.Write([]byte(`{"ID":"e","Running":false,"ExitCode":1}`))
		case strings.HasSuffix(r.URL.Path, "/"+fakeID+"/json"):
			text, _ := json.Marshal(said)
			fmt.Fprintf(w, `{"Id":%q,"Name":"/a","Config":{},"HostConfig":{},"State":{"Status":"exited","Error":%s,"Health":{"Status":"unhealthy","Log":[{"Output":%s}]}}}`,
				fakeID, text, text)
		case strings.HasSuffix(r.URL.Path, "/start"):
			refuse(w, http.StatusInternalServerError, said)
		}
	}))
	t.Cleanup(server.Close)
	c, err := engine.New(engine.Config{Host: "tcp://" + server.Listener.Addr().String(), Redact: func(text string) string {
		return strings.ReplaceAll(text, secretOfTwoLines, "[redacted]")
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	result, err := c.Exec(t.Context(), engine.ExecRequest{ID: fakeID, Command: []string{"check"}, MaxOutput: 512})
	if err != nil {
		t.Fatal(err)
	}
	read, err := c.InspectContainer(t.Context(), fakeID)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"output of an exec": result.Output, "output of a healthcheck": read.HealthLog, "error of a container": read.Error,
		"refusal": fmt.Sprint(c.Start(t.Context(), fakeID)),
	} {
		if strings.Contains(text, "secret line") || !strings.Contains(text, "xxx") || len(text) > 700 {
			t.Errorf("%s: %q", what, text)
		}
	}
}
