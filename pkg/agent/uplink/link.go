package uplink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/source"
)

// Link keeps one stream to one of the controllers open. Its methods are safe for
// concurrent use and wait for no network.
type Link struct {
	cfg   Config
	runID string
	// hurry ends a pause.
	hurry chan struct{}

	mu        sync.Mutex
	state     api.Link
	endpoints []string
	session   *session // nil while there is none
	verdict   verdict
	// inForce are the last two revisions that were accepted, the newest first.
	inForce []source.Revision
	// renewals counts the certificates that Reconnect was called for.
	renewals int
	// kept is the number of the newest event that a controller has.
	kept uint64
}

// verdict is what became of a revision.
type verdict struct {
	revision        source.Revision
	accepted        bool
	reason, message string
}

// New returns a link that does nothing before Run.
func New(cfg Config) (*Link, error) {
	if err := CheckEndpoints(cfg.Endpoints); err != nil {
		return nil, fmt.Errorf("configure the link to the controller: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Timing = cfg.Timing.withDefaults()
	l := &Link{cfg: cfg, runID: rand.Text(), hurry: make(chan struct{}, 1), endpoints: slices.Clone(cfg.Endpoints)}
	if rev, ok := cfg.Source.InForce(); ok {
		l.inForce = []source.Revision{rev}
	}
	return l, nil
}

// State tells whether there is a connection.
func (l *Link) State() api.Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Endpoints are the controllers that are tried: those of the configuration, then those
// that controllers told.
func (l *Link) Endpoints() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.endpoints)
}

// errRenewed ends a stream whose certificate was replaced.
var errRenewed = errors.New("the certificate was renewed")

// Reconnect ends the present stream, so that the next one shows a new certificate, and a
// pause between attempts.
func (l *Link) Reconnect() {
	l.mu.Lock()
	l.renewals++
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.cancel(errRenewed)
	}
	ring(l.hurry)
}

// Run keeps a connection until ctx ends. It waits for all that it started.
func (l *Link) Run(ctx context.Context) error {
	next := mathrand.IntN(len(l.cfg.Endpoints)) //nolint:gosec // no secret: agents spread over the controllers
	for failures := 0; ctx.Err() == nil; next++ {
		failures = l.try(ctx, next, failures)
	}
	l.cfg.Source.Offline(errors.New("the agent ends"))
	return nil
}

// try makes one connection, serves it until it ends and waits for a while. It returns how
// many attempts in a row have failed.
func (l *Link) try(ctx context.Context, next, failures int) int {
	l.mu.Lock()
	endpoint := l.endpoints[next%len(l.endpoints)]
	l.mu.Unlock()
	lasted, err := l.connect(ctx, endpoint)
	if ctx.Err() != nil {
		return failures
	}
	if failures++; lasted >= l.cfg.Timing.Stable {
		failures = 1
	}
	l.lost(endpoint, err)
	if l.cfg.Failed != nil {
		l.cfg.Failed(err)
	}
	pause := l.pause(failures)
	l.cfg.Log.WarnContext(ctx, "no connection to the controller", "endpoint", endpoint, "err", err, "retry_in", pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.hurry:
		return 0
	case <-timer.C:
	}
	return failures
}

// pause is random, so that agents that lost a controller together don't come back together.
func (l *Link) pause(failures int) time.Duration {
	limit := l.cfg.Timing.RetryFirst
	for range failures - 1 {
		if limit *= 2; limit >= l.cfg.Timing.RetryLast {
			limit = l.cfg.Timing.RetryLast
			break
		}
	}
	return mathrand.N(limit) + 1 //nolint:gosec // no secret
}

// maxLastError bounds what State says of an error, in bytes.
const maxLastError = 300

func (l *Link) lost(endpoint string, cause error) {
	l.cfg.Source.Offline(cause)
	text := cutText(l.cfg.Redact(cause.Error()), maxLastError)
	l.change(func() {
		if l.state.Connected || l.state.Since.IsZero() {
			l.state.Since = time.Now()
		}
		l.state.Connected, l.state.Endpoint, l.state.Controller, l.state.LastError = false, endpoint, "", text
		l.session = nil
	})
}

// change changes what l.mu guards, and tells of it.
func (l *Link) change(f func()) {
	l.mu.Lock()
	f()
	state := l.state
	l.mu.Unlock()
	if l.cfg.Changed != nil {
		l.cfg.Changed(state)
	}
}

// Accepted says that a revision of the source is in force.
func (l *Link) Accepted(rev source.Revision) {
	if err := l.cfg.Source.Accept(rev); err != nil {
		l.cfg.Log.Warn("after a restart the controller has to send the state again", "err", err)
	}
	l.judge(verdict{revision: rev, accepted: true})
}

// Refused says that a revision of the source can't be put in force.
func (l *Link) Refused(rev source.Revision, reason api.Reason, message string) {
	l.judge(verdict{revision: rev, reason: string(reason), message: message})
}

func (l *Link) judge(v verdict) {
	if v.revision.Digest == "" {
		return // none that came from a controller
	}
	l.mu.Lock()
	l.verdict = v
	if v.accepted && (len(l.inForce) == 0 || l.inForce[0] != v.revision) {
		l.inForce = append([]source.Revision{v.revision}, l.inForce[:min(1, len(l.inForce))]...)
	}
	s := l.session
	l.mu.Unlock()
	if s != nil {
		ring(s.judged)
		ring(s.moved)
	}
}

// digestOf is the digest of the slice that a revision in force has.
func (l *Link) digestOf(revision string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rev := range l.inForce {
		if rev.ID == revision {
			return rev.Digest
		}
	}
	return ""
}

// learn takes over endpoints that a controller told, behind those of the configuration.
func (l *Link) learn(endpoints []string) {
	if len(endpoints) == 0 {
		return
	}
	if err := CheckEndpoints(endpoints); err != nil {
		l.cfg.Log.Warn("the controller's list of controllers is ignored", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endpoints = slices.Clone(l.cfg.Endpoints)
	for _, e := range endpoints {
		if !slices.Contains(l.endpoints, e) {
			l.endpoints = append(l.endpoints, e)
		}
	}
}

// ring puts a value into a one-slot channel.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
