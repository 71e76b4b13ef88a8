package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
)

// NewLogger returns a logger that writes to w. level is debug, info (also when empty),
// warn or error; format is text (also when empty) or json. What its attributes say can be
// redacted from a later point on with SetRedactor. Writes of concurrent callers don't mix.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var threshold slog.Level
	if level != "" {
		if err := threshold.UnmarshalText([]byte(level)); err != nil || strings.ContainsAny(level, "+-") {
			return nil, fmt.Errorf("log level %q: write debug, info, warn or error", level)
		}
	}
	redact := &atomic.Pointer[func(string) string]{}
	options := &slog.HandlerOptions{Level: threshold, ReplaceAttr: replacer(redact)}
	switch format {
	case "", "text":
		return slog.New(handler{slog.NewTextHandler(w, options), redact}), nil
	case "json":
		return slog.New(handler{slog.NewJSONHandler(w, options), redact}), nil
	}
	return nil, fmt.Errorf("log format %q: write text or json", format)
}

// SetRedactor passes every text that log, and every logger made of it by With, writes
// from now on through redact: messages, strings, errors and whatever else is not a number,
// a time or a duration. Attributes that With bound earlier keep the text they had. redact
// must be safe for concurrent use. False means that log was not made by NewLogger.
func SetRedactor(log *slog.Logger, redact func(string) string) bool {
	h, ok := log.Handler().(handler)
	if ok {
		h.redact.Store(&redact)
	}
	return ok
}

// handler carries the redactor from a logger to those that are made of it.
type handler struct {
	slog.Handler
	redact *atomic.Pointer[func(string) string]
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.redact}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.redact}
}

// replacer makes the ReplaceAttr of both formats. slog gives it every attribute outside of
// groups' own nodes, values resolved.
func replacer(redact *atomic.Pointer[func(string) string]) func([]string, slog.Attr) slog.Attr {
	return func(groups []string, a slog.Attr) slog.Attr {
		f := redact.Load()
		if f == nil || len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return a
		}
		switch v := a.Value; v.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue((*f)(v.String()))
		case slog.KindAny:
			a.Value = slog.StringValue((*f)(fmt.Sprintf("%+v", v.Any())))
		case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64,
			slog.KindGroup, slog.KindLogValuer:
		}
		return a
	}
}
