package store

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// walBytes is what etcd takes of the disk for each file of its log before it writes to it.
const walBytes = 64 << 20

// lastWords makes an error of what etcd gives up with while it starts. It has no other way to
// say that a file is damaged or that the disk is full than to panic, in any of its goroutines.
type lastWords struct {
	started atomic.Bool
	said    chan error
}

func newLastWords() *lastWords { return &lastWords{said: make(chan error, 1)} }

func (w *lastWords) options() []zap.Option {
	return []zap.Option{zap.WithPanicHook(w), zap.WithFatalHook(w)}
}

// OnWrite implements zapcore.CheckWriteHook: it ends the goroutine, and after the start the process.
func (w *lastWords) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	if w.started.Load() {
		if entry.Level == zapcore.FatalLevel {
			zapcore.WriteThenFatal.OnWrite(entry, fields)
		}
		zapcore.WriteThenPanic.OnWrite(entry, fields)
	}
	select {
	case w.said <- gaveUp(entry.Message, fields):
	default: // the first ones count
	}
	runtime.Goexit()
}

// gaveUp says why etcd ended, and what to do.
func gaveUp(message string, fields []zapcore.Field) error {
	err := errors.New(message)
	for _, field := range fields {
		if cause, ok := field.Interface.(error); ok {
			err = fmt.Errorf("%s: %w", message, cause)
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: make room on the disk; etcd takes %d MiB at once", err, walBytes>>20)
	}
	return fmt.Errorf("%w: if a file is damaged, move the folder of the store away and restore it: ktrdr-controller restore --from BACKUP", err)
}

// startEtcd starts etcd, or says why it gave up. What is left of it then ends with the process.
func startEtcd(config *embed.Config, words *lastWords) (*embed.Etcd, error) {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	done := make(chan result, 1)
	go func() {
		etcd, err := embed.StartEtcd(config)
		done <- result{etcd, err}
	}()
	select {
	case r := <-done:
		return r.etcd, r.err
	case err := <-words.said:
		return nil, err
	}
}
