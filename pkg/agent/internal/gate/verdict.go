package gate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

// maxViolations bounds the conditions of one stack.
const maxViolations = 20

// Denied says what the policy does not allow of a stack of the desired state in force.
func (g *Gate) Denied(stack *api.Stack) []api.Condition {
	if g.cfg.File == "" {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	verdict, known := g.verdicts[stack]
	if !known {
		host := policy.Host{Links: g.leads, Guarded: g.guarded}
		if g.desired != nil {
			host.Registries = g.desired.Registries
		}
		verdict = g.conditions(g.policy.Check(stack, host))
		g.verdicts[stack] = verdict
	}
	return verdict
}

// DeniedOf says what the policy would not allow of a stack of another desired state.
func (g *Gate) DeniedOf(ctx context.Context, d *api.Desired, stack *api.Stack) []api.Condition {
	if g.cfg.File == "" {
		return nil
	}
	leads := g.links.readAll(ctx, policy.Paths(stack))
	return g.conditions(g.current().Check(stack, policy.Host{Links: leads, Guarded: g.guarded, Registries: d.Registries}))
}

func (g *Gate) current() *policy.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

func (g *Gate) conditions(violations []policy.Violation) []api.Condition {
	var list []api.Condition
	for i, v := range violations {
		c := api.Condition{
			Type: api.ConditionBlocked, Status: true, Reason: api.ReasonPolicyViolation, Message: v.Message(g.cfg.File), Object: v.Service,
		}
		if i == maxViolations {
			c.Object, c.Message = "", fmt.Sprintf("and %d more violations of the node's policy", len(violations)-i)
			return append(list, c)
		}
		list = append(list, c)
	}
	return list
}

// AllowsReference tells whether a reference may be sent to a provider.
func (g *Gate) AllowsReference(ref string) bool {
	return g.cfg.File == "" || g.current().AllowsReference(ref)
}

// AllowsRegistry tells whether a registry may be sent a login.
func (g *Gate) AllowsRegistry(host string) bool {
	return g.cfg.File == "" || g.current().AllowsRegistry(host)
}

// Admit looks again where the host paths of a container lead, as late as possible
// before the engine binds them.
func (g *Gate) Admit(ctx context.Context, service string, spec *api.ContainerSpec, volumes []api.VolumeSpec) error {
	if g.cfg.File == "" {
		return nil
	}
	leads := map[string]string{}
	for _, name := range policy.MountPaths(spec, volumes) {
		target, err := g.links.read(ctx, name)
		if err != nil {
			return &denial{err}
		}
		leads[name] = target
	}
	violations := g.current().CheckMounts(service, spec, volumes, policy.Host{Links: leads, Guarded: g.guarded})
	if len(violations) > 0 {
		g.Reload() // the stack as a whole is blocked by the next look
	}
	return g.refusal(violations)
}

// AdmitRegistrar tells whether a URL may be asked, for a field of the desired state.
func (g *Gate) AdmitRegistrar(field, url string) error {
	if g.cfg.File == "" {
		return nil
	}
	return g.refusal(g.current().CheckRegistrar(field, url))
}

// AdmitRead tells whether a path of the host may be read, and looks where it leads.
func (g *Gate) AdmitRead(ctx context.Context, field, path string) error {
	if g.cfg.File == "" {
		return nil
	}
	target, err := g.links.read(ctx, filepath.Clean(path))
	if err != nil {
		return &denial{err}
	}
	host := policy.Host{Links: map[string]string{filepath.Clean(path): target}, Guarded: g.guarded}
	return g.refusal(g.current().CheckRead(field, path, host))
}

func (g *Gate) refusal(violations []policy.Violation) error {
	if len(violations) == 0 {
		return nil
	}
	return &denial{errors.New(violations[0].Message(g.cfg.File))}
}

// denial is an operation that the policy refuses until something changes.
type denial struct{ err error }

func (d *denial) Error() string { return d.err.Error() }
func (d *denial) Unwrap() error { return d.err }

// Failure makes the loop try again with a pause.
func (d *denial) Failure() (api.ErrorClass, api.Reason) {
	return api.Waiting, api.ReasonPolicyViolation
}
