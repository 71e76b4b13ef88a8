package secrets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// ProviderState tells how one provider is doing; see the fields.
type ProviderState = api.ProviderState

// Accounted is what a provider that talks to a server tells beside its answers. Its
// methods wait for nothing.
type Accounted interface {
	// Requests counts what was sent since the start, and what of it got no usable answer.
	Requests() (sent, failed uint64)
	// Token is nil when there is none or it was not read yet.
	Token() *api.TokenState
}

// Router is a Provider that hands each reference to the provider of its scheme, all of
// them side by side, and keeps account of how they are doing.
type Router struct {
	routes []*route
}

type route struct {
	provider Provider
	schemes  []string

	mu    sync.Mutex
	state ProviderState
}

var _ Provider = (*Router)(nil)

// NewRouter makes a router without any route: it refuses every reference.
func NewRouter() *Router { return &Router{} }

// Add routes references of the schemes to p. The first route of a scheme counts.
func (r *Router) Add(p Provider, schemes ...string) {
	r.routes = append(r.routes, &route{
		provider: p, schemes: schemes, state: ProviderState{Name: p.Name(), Schemes: schemes},
	})
}

// Name implements Provider.
func (r *Router) Name() string {
	if len(r.routes) == 1 {
		return r.routes[0].provider.Name()
	}
	return "router"
}

// Resolve implements Provider. A provider that fails as a whole fails its own references
// only; the error is set when that concerns all that were asked for.
func (r *Router) Resolve(ctx context.Context, refs []string) (map[string]Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	results := make(map[string]Result, len(refs))
	parts := map[*route][]string{}
	for _, ref := range refs {
		if to, refused := r.find(ref); to != nil {
			parts[to] = append(parts[to], ref)
		} else {
			results[ref] = Result{Err: refused}
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	concernsAll := len(parts) == 1 && len(results) == 0
	for to, part := range parts {
		wg.Go(func() {
			answers, err := to.resolve(ctx, part)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(results, answers)
			failed = err
		})
	}
	wg.Wait()
	if concernsAll && failed != nil {
		return results, failed
	}
	return results, ctx.Err()
}

func (r *Router) find(ref string) (*route, *Error) {
	if !api.IsReference(ref) {
		return nil, invalid("", errors.New("not a secret reference"))
	}
	scheme, _, _ := strings.Cut(ref, "://")
	scheme = strings.ToLower(scheme)
	for _, to := range r.routes {
		if slices.Contains(to.schemes, scheme) {
			return to, nil
		}
	}
	return nil, missing(ref, fmt.Errorf("%w: the agent's configuration names no provider of %s:// references: %s",
		ErrNotFound, scheme, remedy(scheme)))
}

func remedy(scheme string) string {
	if scheme == api.SchemeAzure {
		return "set secrets.keyVault, or secrets.dotenv on a laptop"
	}
	return "set secrets.connect, or secrets.dotenv on a laptop"
}

// resolve asks the provider. An error of the whole is put into the result of each
// reference that has none of its own, so that the others' errors don't drown in it.
func (to *route) resolve(ctx context.Context, refs []string) (map[string]Result, error) {
	started := time.Now()
	results, err := to.provider.Resolve(ctx, refs)
	if ctx.Err() == nil {
		to.note(started, results, err)
	}
	if err == nil {
		return results, nil
	}
	all := make(map[string]Result, len(refs))
	maps.Copy(all, results)
	for _, ref := range refs {
		if _, answered := all[ref]; !answered {
			all[ref] = Result{Err: err}
		}
	}
	return all, err
}

// note keeps what an attempt says about the provider; one that the caller ended says nothing.
func (to *route) note(at time.Time, results map[string]Result, err error) {
	trouble := err
	for _, ref := range slices.Sorted(maps.Keys(results)) {
		if trouble == nil && errors.Is(results[ref].Err, ErrUnreachable) {
			trouble = results[ref].Err
		}
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	to.state.LastAttempt = at
	to.state.Reachable, to.state.Reason, to.state.Message = trouble == nil, "", ""
	if trouble == nil {
		to.state.LastSuccess = at
		return
	}
	to.state.Message, to.state.Reason = trouble.Error(), api.ReasonSecretsStale
	if failed, ok := errors.AsType[*Error](trouble); ok && failed.Reason != "" {
		to.state.Reason = failed.Reason
	}
}

// States tells about every provider, in the order in which they were added.
func (r *Router) States() []ProviderState {
	states := make([]ProviderState, 0, len(r.routes))
	for _, to := range r.routes {
		to.mu.Lock()
		state := to.state
		to.mu.Unlock()
		if a, ok := to.provider.(Accounted); ok {
			state.Requests, state.FailedRequests = a.Requests()
			state.Token = a.Token()
		}
		states = append(states, state)
	}
	return states
}
