package store

import (
	"context"
	"log/slog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// What etcd warns of at each start although nothing is wrong.
const (
	// It does not listen at all.
	onePort = "Running http and grpc server on single port. This is not recommended for production."
	// A new data base has no term before its first election; it looks again 4 s later.
	noTerm = "missing term information"
)

// bridge writes what etcd logs through zap with slog. etcd's notes of ordinary work are
// left out: only what needs attention counts as an event of the controller.
type bridge struct {
	log *slog.Logger
}

func zapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(bridge{log: log.With("component", "etcd")})
}

// Enabled implements zapcore.LevelEnabler.
func (bridge) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (b bridge) With(fields []zapcore.Field) zapcore.Core {
	return bridge{log: slog.New(b.log.Handler().WithAttrs(attributes(fields)))}
}

// Check implements zapcore.Core.
func (b bridge) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(entry.Level) && entry.Message != onePort {
		return checked.AddCore(entry, b)
	}
	return checked
}

// Write implements zapcore.Core.
func (b bridge) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	ctx := context.Background()
	if !b.log.Enabled(ctx, level) || early(fields) {
		return nil
	}
	record := slog.NewRecord(entry.Time, level, entry.Message, 0)
	record.AddAttrs(attributes(fields)...)
	return b.log.Handler().Handle(ctx, record)
}

// Sync implements zapcore.Core.
func (bridge) Sync() error { return nil }

func early(fields []zapcore.Field) bool {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && strings.Contains(err.Error(), noTerm) {
			return true
		}
	}
	return false
}

func attributes(fields []zapcore.Field) []slog.Attr {
	encoder := zapcore.NewMapObjectEncoder()
	attrs := make([]slog.Attr, 0, len(fields))
	for _, field := range fields {
		field.AddTo(encoder)
	}
	for name, value := range encoder.Fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	return attrs
}
