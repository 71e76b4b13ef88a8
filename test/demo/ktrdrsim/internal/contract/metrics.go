package contract

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Gauge is one metric without labels.
type Gauge struct {
	Name, Help string
	Value      int
}

// WriteMetrics answers in Prometheus' text format.
func WriteMetrics(w http.ResponseWriter, gauges ...Gauge) {
	var b strings.Builder
	for _, g := range gauges {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n%s %d\n", g.Name, g.Help, g.Name, g.Name, g.Value)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	// A client that has gone away is the only way for this to fail.
	_, _ = io.WriteString(w, b.String())
}
