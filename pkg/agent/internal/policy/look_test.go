package policy_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
)

// TestLooks: what the agent itself asks and reads is bounded as what containers do.
func TestLooks(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte("registrars: ['http://backend:8000/api/*', 'https://**.example/list']\n"+
		"hostPaths: [{path: /mnt/data}, {path: /srv, writable: true}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for address, allowed := range map[string]bool{
		"http://backend:8000/api/workers": true, "http://Backend:8000/api/workers?token=x": true, "https://a.b.example/list": true,
		"http://backend:8000/api/v1/workers": false, "https://backend:8000/api/workers": false, "http://backend/api/workers": false,
		"http://169.254.169.254/latest/meta-data": false, "https://evil/.example/list": true, "https://evil/x.example": false, "": false,
	} {
		found := p.CheckRegistrar("registration.url", address)
		if (len(found) == 0) != allowed {
			t.Errorf("%q: %v, want allowed %v", address, found, allowed)
		}
		for _, v := range found {
			if m := v.Message("/etc/p.yaml"); strings.Contains(m, "token") || !strings.Contains(m, "under registrars") {
				t.Errorf("message %s", m)
			}
		}
	}
	host := policy.Host{Links: map[string]string{"/mnt/data/link": "/etc"}, Guarded: []string{"/run/docker.sock"}}
	for path, allowed := range map[string]bool{
		"/mnt/data": true, "/mnt/data/backups": true, "/srv/x": true, "/mnt": false, "/mnt/database": false, "/etc": false, "/mnt/data/link": false,
		"/mnt/data/../../etc": false, "/run": false,
	} {
		if found := p.CheckRead("watch.path", path, host); (len(found) == 0) != allowed {
			t.Errorf("%q: %v, want allowed %v", path, found, allowed)
		}
	}
	none, err := policy.Parse("p.yaml", []byte("images: []\n"))
	if err != nil || len(none.CheckRegistrar("f", "http://backend:8000/")) == 0 || len(none.CheckRead("f", "/mnt", host)) == 0 {
		t.Errorf("an absent section allows something: %v", err)
	}
}
