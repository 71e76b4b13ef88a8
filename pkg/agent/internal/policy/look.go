package policy

import (
	"net/url"
	"strings"
)

// CheckRead says what the policy does not allow about reading a path of the host, for a field
// of the desired state.
func (p *Policy) CheckRead(field, path string, h Host) []Violation {
	c := &check{policy: p, host: h}
	c.path(bind{field: field, path: path, access: reads})
	return c.result()
}

// CheckRegistrar says what the policy does not allow about asking a URL.
func (p *Policy) CheckRegistrar(field, address string) []Violation {
	c := &check{policy: p}
	c.listed(ruleRegistrars, field, plainURL(address))
	return c.result()
}

// plainURL is the form that patterns are compared with: no query, the host in lower case.
func plainURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) + u.EscapedPath()
}
