package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// mounts probes what services need of the host.
func (c *Config) mounts(ctx context.Context, req Request, emit func(api.Check)) {
	if req.Desired == nil || c.Mounts == nil {
		return
	}
	seen := map[string]bool{}
	for i := range req.Desired.Stacks {
		for _, m := range req.Desired.Stacks[i].Mounts {
			if seen[m.Path] {
				continue
			}
			seen[m.Path] = true
			if st := c.Mounts(ctx, m); !st.OK {
				emit(fixed(row("mount", m.Path, api.CheckFail, "%s: %s", st.Reason, st.Message), "mount it on the host (for an LXC: pct set ID -mp0 …), with the group and mode that nodes/<node>.yaml wants"))
				continue
			}
			emit(row("mount", m.Path, api.CheckOK, "mounted, and as required"))
		}
	}
}

// secrets tells about providers, their tokens, and references without a value.
func (c *Config) secrets(ctx context.Context, req Request, emit func(api.Check)) {
	if c.Delivery != nil {
		if err := c.Delivery(); err != nil {
			emit(fixed(row("delivery", "", api.CheckFail, "secrets can't be delivered as files: %v", err), "run ktrdr-agent prepare as root, and install ktrdr-exec beside ktrdr-agent; the package does both"))
		} else {
			emit(row("delivery", "", api.CheckOK, "secrets can be delivered as files in memory"))
		}
	}
	if c.Secrets == nil {
		return
	}
	st := c.Secrets(ctx, req.Desired)
	for i := range st.Providers {
		emit(provider(&st.Providers[i]))
		if token := st.Providers[i].Token; token != nil {
			emit(tokenEnd(st.Providers[i].Name, token, time.Now()))
		}
	}
	good := 0
	for i := range st.Secrets {
		s := &st.Secrets[i]
		if s.Phase == api.SecretFresh {
			good++
			continue
		}
		result := api.CheckFail
		if s.Phase == api.SecretStale {
			result = api.CheckWarn
		}
		emit(fixed(row("secret", s.Reference, result, "%s: %s", s.Phase, s.Message), "used by %s; docs/spec/secrets.md explains what %s means", users(s), s.Phase))
	}
	if good > 0 {
		emit(row("secret", "", api.CheckOK, "%d references have a value", good))
	}
	if req.Desired != nil && len(st.Secrets) > 0 && len(st.Providers) == 0 {
		emit(fixed(row("secret-provider", "", api.CheckFail, "the desired state has references, and the agent has no provider"), "configure secrets in the agent's configuration (docs/spec/secrets.md)"))
	}
}

func users(s *api.SecretStatus) string {
	var names []string
	for _, u := range s.Users {
		names = append(names, u.String())
	}
	return strings.Join(names, ", ")
}

func provider(p *api.ProviderState) api.Check {
	switch {
	case p.LastAttempt.IsZero():
		return row("secret-provider", p.Name, api.CheckSkip, "not asked yet")
	case !p.Reachable:
		return fixed(row("secret-provider", p.Name, api.CheckFail, "%s: %s", p.Reason, p.Message), "containers that run go on; look at secrets in the agent's configuration and at the provider itself")
	}
	return row("secret-provider", p.Name, api.CheckOK, "answers for %s", strings.Join(p.Schemes, ", "))
}

func tokenEnd(name string, t *api.TokenState, now time.Time) api.Check {
	if t.Expires.IsZero() {
		return row("secret-token", name, api.CheckOK, "never ends")
	}
	left, end := t.Expires.Sub(now), t.Expires.UTC().Format(time.RFC3339)
	const fix = "make a new one (docs/operations.md) and write it where the agent reads it; no restart is needed for a file"
	switch {
	case left <= 0:
		return fixed(row("secret-token", name, api.CheckFail, "ended %s", end), fix)
	case left < soon:
		return fixed(row("secret-token", name, api.CheckWarn, "ends %s, in %s", end, days(left)), fix)
	}
	return row("secret-token", name, api.CheckOK, "good until %s", end)
}

// Image is one image that the desired state wants.
type Image struct{ Ref, Platform string }

// images asks the registries for what the desired state wants, and pulls nothing.
func (c *Config) images(ctx context.Context, req Request, emit func(api.Check)) {
	if req.Desired == nil || c.Registry == nil {
		return
	}
	// Beside each other: a registry that does not answer takes its time for each image.
	list := imagesOf(req.Desired)
	rows := make([]api.Check, len(list))
	var g errgroup.Group
	g.SetLimit(8)
	for i, want := range list {
		g.Go(func() error {
			began := time.Now()
			rows[i] = c.image(ctx, want)
			rows[i].Took = time.Since(began)
			return nil
		})
	}
	_ = g.Wait() // what is wrong is in the rows
	for _, r := range rows {
		emit(r)
	}
}

// wanted is an image with the policy of the first service that wants it.
type wanted struct {
	Image
	policy, user string
}

func imagesOf(d *api.Desired) []wanted {
	var all []wanted
	each(d, func(s *api.Stack, svc *api.Service, r *api.Replica) {
		image := Image{Ref: r.Spec.Image, Platform: r.Spec.Platform}
		if !slices.ContainsFunc(all, func(w wanted) bool { return w.Image == image }) {
			all = append(all, wanted{Image: image, policy: svc.PullPolicy.Policy, user: s.Name + "/" + svc.Name})
		}
	})
	slices.SortFunc(all, func(a, b wanted) int { return strings.Compare(a.Ref+" "+a.Platform, b.Ref+" "+b.Platform) })
	return all
}

func (c *Config) image(ctx context.Context, want wanted) api.Check {
	var local *api.Image
	if c.Engine != nil {
		if found, err := c.Engine.InspectImage(ctx, want.Ref, want.Platform); err == nil {
			local = found
		}
	}
	if want.policy == api.PullNever {
		if local == nil {
			return fixed(row("image", want.Ref, api.CheckFail, "%s wants it and never pulls; it is not here", want.user), "docker load it, or change pull_policy")
		}
		return row("image", want.Ref, api.CheckOK, "here, and never pulled")
	}
	digest, err := c.Registry(ctx, want.Image)
	switch {
	case err != nil && local == nil:
		return fixed(row("image", want.Ref, api.CheckFail, "%s wants it: %v", want.user, err), "push the image, correct the tag, or look at registries in fleet.yaml: the login is a reference")
	case err != nil:
		return fixed(row("image", want.Ref, api.CheckWarn, "it is here, and the registry does not give it: %v", err), "it runs from the copy; a new node could not get it")
	case local == nil:
		return row("image", want.Ref, api.CheckOK, "%s in the registry, not pulled yet", short(digest))
	case local.Digest != "" && local.Digest != digest:
		return row("image", want.Ref, api.CheckOK, "%s in the registry, %s here: the tag has moved", short(digest), short(local.Digest))
	}
	return row("image", want.Ref, api.CheckOK, "%s in the registry and here", short(digest))
}

func short(digest string) string {
	if algorithm, sum, ok := strings.Cut(digest, ":"); ok && len(sum) > 12 {
		return fmt.Sprintf("%s:%s", algorithm, sum[:12])
	}
	return digest
}
