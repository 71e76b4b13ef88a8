package desired_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// registrations are those of all replicas of a state, by container.
func registrations(d *api.Desired) map[string]*api.Registration {
	found := map[string]*api.Registration{}
	for i := range d.Stacks {
		for j := range d.Stacks[i].Services {
			for _, r := range d.Stacks[i].Services[j].Replicas {
				found[r.Name] = r.Registration
			}
		}
	}
	return found
}

// TestRegistrationOfPools: a pool's word counts for all its services, each with the variables
// of its own container, unless the service has its own.
func TestRegistrationOfPools(t *testing.T) {
	const stack = `variables: {API: "http://backend:8000"}
pools:
  listed:
    services: [one, two]
    default: 2
    registration: &r {url: "${API_URL}/workers", match: {endpoint_url: "${PUBLIC}", kind: a}, state: status}
  stamped: {template: worker, ports: [5003, 5004], default: 2, registration: *r}
services:
  two: {registration: {url: "${API}/others", match: {id: "${NODE_NAME}"}, interval: 2s, timeout: 1s, grace: 1m, required: true}}`
	const compose = `services:
  one: {image: x, container_name: one, environment: {API_URL: "${API}/v1", PUBLIC: "http://one"}}
  two: {image: x, container_name: two, environment: {PUBLIC: "http://two"}}
  other: {image: x, container_name: other}
  worker: {image: x, container_name: worker, environment: {API_URL: "${API}/v2", PUBLIC: "http://${NODE_HOSTNAME}:${PORT}"}}
`
	d := mustLoad(t, repo(t, "hostname: h.example\nstacks: [{name: s}]", stack, compose), "n")
	standard := func(url, public string) *api.Registration {
		return &api.Registration{
			URL: url, Match: map[string]string{"endpoint_url": public, "kind": "a"}, State: "status",
			Interval: 30 * time.Second, Timeout: 5 * time.Second, Grace: 90 * time.Second,
		}
	}
	want := map[string]*api.Registration{
		"one":      standard("http://backend:8000/v1/workers", "http://one"),
		"other":    nil,
		"worker-1": standard("http://backend:8000/v2/workers", "http://h.example:5003"),
		"worker-2": standard("http://backend:8000/v2/workers", "http://h.example:5004"),
		"two": {
			URL: "http://backend:8000/others", Match: map[string]string{"id": "n"},
			Interval: 2 * time.Second, Timeout: time.Second, Grace: time.Minute, Required: true,
		},
	}
	if diff := cmp.Diff(want, registrations(d)); diff != "" {
		t.Error(diff)
	}
}

// TestRegistrationReplacesNothing: what is looked for is no part of a container's definition.
func TestRegistrationReplacesNothing(t *testing.T) {
	const compose = "services: {one: {image: x, container_name: one}}"
	hash := func(stack string) string {
		return mustLoad(t, repo(t, "stacks: [{name: s}]", stack, compose), "n").Stacks[0].Services[0].Replicas[0].SpecHash
	}
	if hash("{}") != hash(`services: {one: {registration: {url: "http://x/", match: {id: a}}}}`) {
		t.Error("a registration changes the spec hash: all containers would be replaced")
	}
}

func TestBackups(t *testing.T) {
	const node = `stacks: [{name: s}]
variables: {DATA: /mnt/data}
backups:
  - {name: z, watch: {path: "${DATA}/${NODE_NAME}", maxAge: 192h}}
  - {name: a, watch: {path: /a, pattern: "*.tar", maxAge: 1h, minSize: 1M, interval: 30s}}`
	const stack = `backups: [{name: db, watch: {path: "/mnt/${STACK}", pattern: "k-*.dump", maxAge: 26h}}]`
	d := mustLoad(t, repo(t, node, stack, "services: {one: {image: x}}"), "n")
	want := []api.Backup{
		{Name: "a", Path: "/a", Pattern: "*.tar", MaxAge: time.Hour, MinSize: 1 << 20, Interval: 30 * time.Second},
		{Name: "z", Path: "/mnt/data/n", Pattern: "*", MaxAge: 8 * 24 * time.Hour, MinSize: 1, Interval: 5 * time.Minute},
	}
	if diff := cmp.Diff(want, d.Backups); diff != "" {
		t.Error(diff)
	}
	want = []api.Backup{{Name: "db", Path: "/mnt/s", Pattern: "k-*.dump", MaxAge: 26 * time.Hour, MinSize: 1, Interval: 5 * time.Minute}}
	if diff := cmp.Diff(want, d.Stacks[0].Backups); diff != "" {
		t.Error(diff)
	}
}
