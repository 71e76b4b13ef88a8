package agent

import (
	"context"
	"errors"
	"maps"

	"ktrdr.io/fleet/pkg/agent/internal/gate"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// guardedProvider is the last wall before the providers: a reference that the node's policy
// denies goes to none, whoever asks for it.
type guardedProvider struct {
	*secrets.Router
	gate *gate.Gate
}

var errDenied = errors.New("the node's policy does not allow this reference; an administrator of the node can add it to the policy file")

// Resolve answers denied references itself.
func (p guardedProvider) Resolve(ctx context.Context, refs []string) (map[string]secrets.Result, error) {
	denied := map[string]secrets.Result{}
	var allowed []string
	for _, ref := range refs {
		if p.gate.AllowsReference(ref) {
			allowed = append(allowed, ref)
			continue
		}
		// Its text is left out: what is no reference may be a pasted secret.
		denied[ref] = secrets.Result{Err: &secrets.Error{Class: api.Waiting, Reason: api.ReasonPolicyViolation, Err: errDenied}}
	}
	if len(allowed) == 0 {
		return denied, ctx.Err()
	}
	results, err := p.Router.Resolve(ctx, allowed)
	if len(denied) == 0 {
		return results, err
	}
	maps.Copy(denied, results)
	return denied, err
}
