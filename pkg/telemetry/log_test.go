package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/telemetry"
)

func TestNewLogger(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"", "", "level=INFO msg=hello n=1"},
		{"debug", "text", "level=INFO msg=hello n=1"},
		{"INFO", "json", `"level":"INFO","msg":"hello","n":1`},
		{"warn", "text", ""},
		{"error", "json", ""},
	} {
		var out bytes.Buffer
		log, err := telemetry.NewLogger(&out, c.level, c.format)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		log.Info("hello", "n", 1)
		if !strings.Contains(out.String(), c.want) || c.want == "" && out.Len() > 0 {
			t.Errorf("%+v: got %q", c, out.String())
		}
	}
}

func TestNewLoggerRefuses(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"loud", "text", `log level "loud": write debug, info, warn or error`},
		{"info+2", "text", `log level "info+2": write debug, info, warn or error`},
		{"info", "xml", `log format "xml": write text or json`},
	} {
		if _, err := telemetry.NewLogger(nil, c.level, c.format); err == nil || err.Error() != c.want {
			t.Errorf("%+v: got %v", c, err)
		}
	}
}

type credential struct{ Name, Value string }

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue("from hunter2") }

// TestRedactor wants the value gone from everything that can hold text, and nothing else
// changed.
func TestRedactor(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			root, err := telemetry.NewLogger(&out, "info", format)
			if err != nil {
				t.Fatal(err)
			}
			derived := root.With("component", "x").WithGroup("g")
			if !telemetry.SetRedactor(root, func(s string) string { return strings.ReplaceAll(s, "hunter2", "[redacted]") }) {
				t.Fatal("the logger has no redactor")
			}
			wrapped := fmt.Errorf("login: %w", errors.New("bad password hunter2"))
			derived.Error("said hunter2", "text", "a hunter2 b", "err", wrapped, "struct", credential{"n", "hunter2"}, "list", []string{"hunter2"},
				"bytes", bytes.NewBufferString("hunter2"), "lazy", valuer{}, slog.Group("deep", "inner", "hunter2"))
			derived.With("bound", "hunter2").Error("again")
			if text := out.String(); strings.Contains(text, "hunter2") || strings.Count(text, "[redacted]") != 9 {
				t.Errorf("%d redactions in %s", strings.Count(text, "[redacted]"), text)
			}
		})
	}
}

func TestRedactorKeepsNumbersAndTimes(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	telemetry.SetRedactor(log, func(string) string { return "X" })
	log.Info("m", "n", 5, "ok", true, "took", time.Second)
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339, got["time"].(string)); err != nil {
		t.Error(err)
	}
	delete(got, "time")
	if diff := cmp.Diff(map[string]any{"level": "INFO", "msg": "X", "n": 5.0, "ok": true, "took": 1e9}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSetRedactorOnForeignLogger(t *testing.T) {
	if telemetry.SetRedactor(slog.New(slog.DiscardHandler), strings.ToUpper) {
		t.Error("a logger of somebody else took a redactor")
	}
}
