package access

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recheck is how often the callers of open streams are looked up again.
const recheck = 15 * time.Second

// lostError is why a stream ends before its handler wants it to.
type lostError struct{ status error }

// Error is the text of the status.
func (e *lostError) Error() string { return e.status.Error() }

// GRPCStatus is what a handler may answer with.
func (e *lostError) GRPCStatus() *status.Status { return status.Convert(e.status) }

// streams are open. A call is over before its caller's access can end; a stream is not.
type streams struct {
	mu   sync.Mutex
	open map[*call]context.CancelCauseFunc
}

func newStreams() *streams { return &streams{open: map[*call]context.CancelCauseFunc{}} }

// begin registers a stream. Its context ends with end, with the caller's proof, or when
// the caller is found to have lost its access.
func (s *streams) begin(ctx context.Context, c *call, now time.Time) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	s.open[c] = cancel
	s.mu.Unlock()
	stop := func() bool { return true }
	if !c.caller.Expires.IsZero() {
		timer := time.AfterFunc(c.caller.Expires.Sub(now), func() {
			cancel(&lostError{status.Error(codes.Unauthenticated, "the certificate or token has ended; connect again with a new one")})
		})
		stop = timer.Stop
	}
	return ctx, func() {
		stop()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
		cancel(context.Canceled)
	}
}

func (s *streams) snapshot() []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]*call, 0, len(s.open))
	for c := range s.open {
		calls = append(calls, c)
	}
	return calls
}

func (s *streams) end(c *call, why error) {
	s.mu.Lock()
	cancel := s.open[c]
	s.mu.Unlock()
	if cancel != nil {
		cancel(&lostError{why})
	}
}

// Watch looks the callers of open streams up every 15 s, until ctx ends, and ends the
// streams of those who lost their access. While the directory can't tell, streams stay:
// nodes need no store to keep running.
func (g *Guard) Watch(ctx context.Context) {
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.Recheck(ctx)
		}
	}
}

// Recheck is one look of Watch. Who removes a node or an operator calls it, so that open
// streams end at once.
func (g *Guard) Recheck(ctx context.Context) {
	// Many streams may be one caller's.
	type answer struct {
		now Caller
		err error
	}
	answers := map[Caller]answer{}
	for _, c := range g.streams.snapshot() {
		if c.caller.Role == Anonymous {
			continue
		}
		a, asked := answers[c.caller]
		if !asked {
			a.now, a.err = g.lookup(ctx, c.caller)
			answers[c.caller] = a
		}
		if status.Code(a.err) == codes.Unavailable {
			return // each question would take as long as this one
		}
		if why := lostBy(a.now, a.err, c.rule); why != nil {
			g.log.InfoContext(ctx, "stream ended because its caller lost access", slog.String("who", c.caller.String()), slog.String("what", c.what))
			g.streams.end(c, why)
		}
	}
}

// lostBy says why a stream has to end, or nothing.
func lostBy(now Caller, err error, rule Rule) error {
	switch known := err == nil; {
	case status.Code(err) == codes.Unauthenticated:
		return err
	case known && !now.Role.Allows(rule.Least):
		return status.Errorf(codes.PermissionDenied, "this needs the role %s; %s is %s now", rule.Least, now, now.Role)
	}
	return nil
}
