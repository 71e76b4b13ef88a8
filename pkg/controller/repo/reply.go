package repo

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// keepAlive is how often a quiet answer shows that it goes on.
	keepAlive = 5 * time.Second
	// writeTimeout is how long a pusher may leave a line unread.
	writeTimeout = 30 * time.Second
	// bandSize is the most that fits into one packet of a side band.
	bandSize = 65515
)

// Side bands. Source: gitprotocol-pack(5), "Packfile Data".
const (
	bandData     = "\x01"
	bandProgress = "\x02"
)

// reply is the answer to a push: progress while it runs, a report at its end.
type reply struct {
	w    http.ResponseWriter
	req  request
	gone context.CancelFunc

	mu   sync.Mutex
	dead bool
	last time.Time
}

func (r *reply) begin() {
	r.w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
	r.w.WriteHeader(http.StatusOK)
}

// progress sends lines to the pusher's terminal. Safe for concurrent use.
func (r *reply) progress(text string) {
	if !r.req.sideBand {
		return
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		r.packet(bandProgress + oneLine(line) + "\n")
	}
}

// keepAlive runs until ctx ends.
func (r *reply) keepAlive(ctx context.Context) {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			r.mu.Lock()
			quiet := now.Sub(r.last) >= keepAlive
			r.mu.Unlock()
			if quiet && r.req.sideBand {
				r.packet(bandData)
			}
		}
	}
}

// finish sends the report: what became of the pack, and of each command by its reference; ""
// is success.
func (r *reply) finish(unpack string, results []outcome) {
	if !r.req.report {
		return
	}
	var report strings.Builder
	add := func(line string) { _ = writePacket(&report, line+"\n") } // a Builder never fails
	add("unpack " + ifEmpty(unpack, "ok"))
	for _, result := range results {
		if result.refused == "" {
			add("ok " + result.ref)
		} else {
			add("ng " + result.ref + " " + oneLine(result.refused))
		}
	}
	report.WriteString("0000")
	if !r.req.sideBand {
		r.send(report.String())
		return
	}
	for text := report.String(); text != ""; {
		n := min(len(text), bandSize)
		r.packet(bandData + text[:n])
		text = text[n:]
	}
	r.send("0000")
}

// outcome is what became of one command.
type outcome struct{ ref, refused string }

func ifEmpty(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}

func (r *reply) packet(payload string) {
	var out strings.Builder
	_ = writePacket(&out, payload) // a Builder never fails
	r.send(out.String())
}

// send writes and flushes. A pusher that does not read for writeTimeout counts as gone: it
// must not keep others from their turn.
func (r *reply) send(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return
	}
	control := http.NewResponseController(r.w)
	err := control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		if _, err = r.w.Write([]byte(text)); err == nil {
			err = control.Flush()
		}
	}
	r.last = time.Now()
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		r.dead = true
		r.gone()
	}
}
