package desired

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Defaults and limits of a registration.
const (
	defaultRegistration        = 30 * time.Second
	defaultRegistrationTimeout = 5 * time.Second
	maxRegistrationTimeout     = 10 * time.Second
	graceIntervals             = 3
)

// checkRegistration checks what needs no Compose file.
func (s *stack) checkRegistration(at string, spec *api.RegistrationSpec) {
	if spec == nil {
		return
	}
	if len(spec.Match) == 0 && s.doc.has(at+".match") {
		s.doc.problem(at+".match", "must have at least one field that tells the service's entry")
	}
	if d := time.Duration(spec.Interval); d != 0 && d < time.Second {
		s.doc.problem(at+".interval", "must be at least 1s")
	}
	if d := time.Duration(spec.Timeout); d > maxRegistrationTimeout {
		s.doc.problem(at+".timeout", "must be at most %s", maxRegistrationTimeout)
	}
}

// applyRegistration resolves where the replicas of a service register: by the service's own
// word, else by its pool's.
func (b *stackBuild) applyRegistration(service *api.Service, own *api.RegistrationSpec) {
	spec, at := own, "spec.services."+service.Name+".registration"
	pool := b.stack.Spec.Pools[service.Pool]
	if spec == nil && service.Pool != "" {
		spec, at = pool.Registration, "spec.pools."+service.Pool+".registration"
	}
	if spec == nil {
		return
	}
	for i := range service.Replicas {
		rep := &service.Replicas[i]
		if pool.Template == service.Name {
			b.vars.set(b.slotVariables(pool, rep.Number))
		}
		rep.Registration = b.registration(spec, at, environmentOf(&rep.Spec))
	}
	b.vars.set(b.noSlot())
}

func (b *stackBuild) registration(spec *api.RegistrationSpec, at string, env map[string]string) *api.Registration {
	expand := func(field, text string) string {
		place := b.stack.doc.at(at + "." + field)
		value := b.vars.expandWith(env, text, place)
		if api.HasReference(value) {
			b.fail(place, "holds a secret: what is asked for and compared is shown in status and logs; use a variable without a reference")
			return ""
		}
		return value
	}
	interval := orDefault(time.Duration(spec.Interval), defaultRegistration)
	out := &api.Registration{
		URL: expand("url", spec.URL), Match: map[string]string{}, State: spec.State, Required: spec.Required, Interval: interval,
		Timeout: orDefault(time.Duration(spec.Timeout), min(defaultRegistrationTimeout, interval)),
		Grace:   orDefault(time.Duration(spec.Grace), graceIntervals*interval),
	}
	for _, field := range keysOf(spec.Match) {
		out.Match[field] = expand("match."+field, spec.Match[field])
	}
	if fault := urlFault(out.URL); fault != "" && out.URL != "" {
		b.fail(b.stack.doc.at(at+".url"), "%s", fault)
	}
	return out
}

// urlFault says why a text is not a URL that may be asked; empty when it is one. It does
// not repeat the text.
func urlFault(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return "must be a URL that begins with http:// or https:// and has a host, such as http://backend:8000/api/v1/workers"
	case u.User != nil:
		return "must not have a user or password in it: it is asked for without credentials"
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(part string) bool { return part == "." || part == ".." }):
		return "must not have . or .. in its path"
	case u.Fragment != "":
		return "must not have a fragment (#…)"
	}
	return ""
}
