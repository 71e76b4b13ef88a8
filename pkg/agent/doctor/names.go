package doctor

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// place is a host that the desired state names, and the first object that names it.
type place struct{ host, port, user string }

// names looks up every host that the desired state names, and knocks where it names a port.
func (c *Config) names(ctx context.Context, req Request, emit func(api.Check)) {
	places := placesOf(req.Desired)
	found := make([][]api.Check, len(places))
	var g errgroup.Group
	g.SetLimit(8)
	for i, p := range places {
		g.Go(func() error {
			found[i] = c.lookUp(ctx, p)
			return nil
		})
	}
	_ = g.Wait()
	for _, rows := range found {
		for _, r := range rows {
			emit(r)
		}
	}
}

// Time limits of one name.
const (
	lookupLimit = 5 * time.Second
	dialLimit   = 3 * time.Second
)

func (c *Config) lookUp(ctx context.Context, p place) []api.Check {
	began := time.Now()
	lookup, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	addresses, err := c.Resolver.LookupHost(lookup, p.host)
	if err != nil {
		r := fixed(row("dns", p.host, api.CheckFail, "%s needs it: %v", p.user, lookupText(err)), "add it to the DNS server that this machine asks, or correct the name")
		r.Took = time.Since(began)
		return []api.Check{r}
	}
	r := row("dns", p.host, api.CheckOK, "%s", strings.Join(addresses, ", "))
	r.Took = time.Since(began)
	if p.port == "" {
		return []api.Check{r}
	}
	return []api.Check{r, c.dial(ctx, p)}
}

func lookupText(err error) string {
	if failed, ok := errors.AsType[*net.DNSError](err); ok {
		return cmp.Or(failed.Err, err.Error())
	}
	return err.Error()
}

func (c *Config) dial(ctx context.Context, p place) api.Check {
	began := time.Now()
	subject := net.JoinHostPort(p.host, p.port)
	d := net.Dialer{Timeout: dialLimit, Resolver: c.Resolver}
	conn, err := d.DialContext(ctx, "tcp", subject)
	var r api.Check
	switch {
	case err == nil:
		_ = conn.Close()
		r = row("reachable", subject, api.CheckOK, "accepts connections")
	case errors.Is(err, syscall.ECONNREFUSED):
		r = fixed(row("reachable", subject, api.CheckWarn, "%s needs it: the machine is there, but nothing listens", p.user), "start what belongs there; before the first deployment this is as it should be")
	default:
		r = fixed(row("reachable", subject, api.CheckWarn, "%s needs it: no connection within %s", p.user, dialLimit), "is the machine up, and does a firewall let this one through?")
	}
	r.Took = time.Since(began)
	return r
}

// inURL finds hosts in URLs, behind user names and passwords.
func inURL() *regexp.Regexp {
	return regexp.MustCompile(`\b([a-z][a-z0-9+.-]*)://(?:[^\s/@"']*@)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?`)
}

// hostKeys are ends of names of variables whose value is a host.
func hostKeys() []string { return []string{"_HOST", "_HOSTNAME", "_SERVER", "_ADDR", "_ADDRESS"} }

// placesOf collects the hosts in environments and commands, and the registries, without
// what containers reach each other by.
func placesOf(d *api.Desired) []place {
	if d == nil {
		return nil
	}
	inside, pattern := insideNames(d), inURL()
	seen := map[place]string{}
	add := func(host, port, user string) {
		host = strings.Trim(strings.ToLower(host), "[].")
		if !isHost(host) || inside[host] {
			return
		}
		key := place{host: host, port: port}
		if old, ok := seen[key]; !ok || user < old {
			seen[key] = user
		}
	}
	each(d, func(s *api.Stack, svc *api.Service, r *api.Replica) {
		user := s.Name + "/" + svc.Name
		for _, text := range slices.Concat(r.Spec.Env, r.Spec.Command, r.Spec.Entrypoint) {
			text = withoutReferences(text)
			for _, m := range pattern.FindAllStringSubmatch(text, -1) {
				add(m[2], cmp.Or(m[3], defaultPort(m[1])), user)
			}
			if key, value, ok := strings.Cut(text, "="); ok && slices.ContainsFunc(hostKeys(), func(end string) bool { return strings.HasSuffix(key, end) }) {
				host, port, err := net.SplitHostPort(value)
				if err != nil {
					host, port = value, ""
				}
				if strings.Contains(host, ".") {
					add(host, port, user)
				}
			}
		}
		registry := registryHost(r.Spec.Image)
		name, port, err := net.SplitHostPort(registry)
		if err != nil {
			name, port = registry, "443"
		}
		add(name, port, "image "+r.Spec.Image)
	})
	return sortPlaces(seen)
}

func sortPlaces(seen map[place]string) []place {
	var all []place
	for p, user := range seen {
		_, withPort := seen[p]
		p.user = user
		if p.port == "" && withPort && slices.ContainsFunc(portsOf(seen, p.host), func(port string) bool { return port != "" }) {
			continue // the row with a port looks it up as well
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Or(strings.Compare(a.host, b.host), strings.Compare(a.port, b.port)) })
	return all
}

func portsOf(seen map[place]string, host string) []string {
	var ports []string
	for p := range seen {
		if p.host == host {
			ports = append(ports, p.port)
		}
	}
	return ports
}

// insideNames are those that the engine's own DNS answers, and those of the machine itself.
func insideNames(d *api.Desired) map[string]bool {
	inside := map[string]bool{"localhost": true, "host.docker.internal": true, "gateway.docker.internal": true}
	each(d, func(_ *api.Stack, svc *api.Service, r *api.Replica) {
		for _, name := range []string{svc.Name, r.Name, r.Spec.Hostname} {
			inside[strings.ToLower(name)] = true
		}
		for i := range r.Spec.Endpoints {
			for _, alias := range r.Spec.Endpoints[i].Aliases {
				inside[strings.ToLower(alias)] = true
			}
		}
		for _, entry := range r.Spec.ExtraHosts {
			name, _, _ := strings.Cut(entry, ":")
			inside[strings.ToLower(name)] = true
		}
		for _, link := range slices.Concat(r.Spec.Links, r.Spec.ExternalLinks) {
			_, alias, _ := strings.Cut(link, ":")
			inside[strings.ToLower(alias)] = true
		}
	})
	return inside
}

// isHost leaves addresses and what is no name out.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" || len(host) > 253 {
		return false
	}
	return strings.ContainsFunc(host, func(r rune) bool { return r >= 'a' && r <= 'z' })
}

func defaultPort(scheme string) string {
	return map[string]string{
		"http": "80", "https": "443", "postgres": "5432", "postgresql": "5432", "redis": "6379", "mysql": "3306", "amqp": "5672", "nats": "4222",
	}[scheme]
}

// withoutReferences puts a letter in place of each reference: what it stands for is not known here.
func withoutReferences(text string) string {
	plain, err := api.Expand(text, func(string) (string, error) { return "x", nil })
	if err != nil {
		return ""
	}
	return plain
}

// registryHost is the registry of an image; that of Docker Hub has another name than images have.
func registryHost(ref string) string {
	host, _, found := strings.Cut(ref, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "registry-1.docker.io"
	}
	return host
}

// each calls f for every replica.
func each(d *api.Desired, f func(*api.Stack, *api.Service, *api.Replica)) {
	if d == nil {
		return
	}
	for i := range d.Stacks {
		for j := range d.Stacks[i].Services {
			for k := range d.Stacks[i].Services[j].Replicas {
				f(&d.Stacks[i], &d.Stacks[i].Services[j], &d.Stacks[i].Services[j].Replicas[k])
			}
		}
	}
}
