package apply

import (
	"context"
	"fmt"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// admit asks the node's policy about the host paths of a container right before the engine
// binds them, which it does at every start: a link may have changed since the stack was
// planned.
func (x *Executor) admit(ctx context.Context, op plan.Op, t plan.Target) error {
	binds := op.Kind == plan.Create || op.Kind == plan.Start || op.Kind == plan.Restart
	if x.cfg.Policy == nil || !binds || op.Replica == nil {
		return nil
	}
	return x.cfg.Policy.Admit(ctx, op.Service, &op.Replica.Spec, t.Stack.Volumes)
}

// login is the login of the registry that an image comes from; empty when it needs none.
func (x *Executor) login(image string, registries []api.Registry) (username, password string, err error) {
	host := registryHost(image)
	for _, r := range registries {
		if r.Host != host {
			continue
		}
		if x.cfg.Policy != nil && !x.cfg.Policy.AllowsRegistry(host) {
			return "", "", &opError{
				class: api.Waiting, reason: api.ReasonPolicyViolation,
				err: fmt.Errorf("log in to %s: the node's policy does not allow the registry", host),
			}
		}
		newest := opener{secrets: x.cfg.Secrets}
		if username, err = newest.expand(r.Username); err != nil {
			return "", "", err
		}
		password, err = newest.expand(r.Password)
		return username, password, err
	}
	return "", "", nil
}
