package secrets

import (
	"context"
	"errors"
	"maps"

	"ktrdr.io/fleet/pkg/api"
)

// ErrNotAllowed is the answer to a reference that the node does not accept.
var ErrNotAllowed = errors.New("the node's policy does not allow this reference; an administrator of the node can add it to the policy file")

// Guarded is the last wall before the providers: a reference that is not allowed goes to
// none of them, whoever asks for it.
type Guarded struct {
	*Router
	allows func(ref string) bool
}

var _ Provider = (*Guarded)(nil)

// NewGuarded puts a wall before a router. allows is asked for every reference, each time.
func NewGuarded(r *Router, allows func(ref string) bool) *Guarded {
	return &Guarded{Router: r, allows: allows}
}

// Resolve implements Provider and answers what is not allowed itself.
func (g *Guarded) Resolve(ctx context.Context, refs []string) (map[string]Result, error) {
	denied := map[string]Result{}
	var allowed []string
	for _, ref := range refs {
		if g.allows(ref) {
			allowed = append(allowed, ref)
			continue
		}
		// Its text is left out: what is no reference may be a pasted secret.
		denied[ref] = Result{Err: &Error{Class: api.Waiting, Reason: api.ReasonPolicyViolation, Err: ErrNotAllowed}}
	}
	if len(allowed) == 0 {
		return denied, ctx.Err()
	}
	results, err := g.Router.Resolve(ctx, allowed)
	maps.Copy(denied, results)
	return denied, err
}
