package desired_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
)

// repo makes a repository of one node n with one stack s.
func repo(tb testing.TB, node, stack, compose string) string {
	tb.Helper()
	head := func(kind, name string) string {
		return fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec:\n", kind, name)
	}
	indent := func(s string) string {
		return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ") + "\n"
	}
	return write(tb, []txtar.File{
		{Name: "fleet.yaml", Data: []byte(head("Fleet", "f") + "  variables: {LEVEL: fleet, ONLY_FLEET: yes}\n")},
		{Name: "nodes/n.yaml", Data: []byte(head("Node", "n") + indent(node))},
		{Name: "stacks/s/stack.yaml", Data: []byte(head("Stack", "s") + indent(stack))},
		{Name: "stacks/s/compose.yaml", Data: []byte(compose)},
	})
}

// problems loads node n and returns what is wrong, one line each.
func problems(tb testing.TB, root string) string {
	tb.Helper()
	_, _, err := desired.Load(tb.Context(), desired.Request{Root: root, Node: "n"})
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPrecedence(t *testing.T) {
	compose := `
services:
  app:
    image: app
    environment:
      LEVEL: ${LEVEL}
      DERIVED: ${DERIVED}
      PLAIN: ${ONLY_FLEET} ${PORT}
      BUILTIN: ${NODE_NAME} ${NODE_HOSTNAME} ${STACK} ${PROJECT}
`
	const stack = "variables: {LEVEL: stack, DERIVED: 'level ${LEVEL} on ${NODE_NAME}$$', PORT: 0777}\nproject: p-${NODE_NAME}"
	cases := map[string]struct{ node, stack, want string }{
		"fleet": {"hostname: h.example\nstacks: [{name: s}]", "variables: {DERIVED: 'level ${LEVEL} on ${NODE_NAME}$$', PORT: 0777}\nproject: p-${NODE_NAME}", "fleet"},
		"stack": {"hostname: h.example\nstacks: [{name: s}]", stack, "stack"},
		"node":  {"hostname: h.example\nvariables: {LEVEL: node}\nstacks: [{name: s}]", stack, "node"},
		"placed": {
			"hostname: h.example\nvariables: {LEVEL: node}\nstacks: [{name: s, variables: {LEVEL: placed}}]", stack, "placed",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := mustLoad(t, repo(t, c.node, c.stack, compose), "n")
			got := map[string]string{}
			for _, key := range []string{"LEVEL", "DERIVED", "PLAIN", "BUILTIN"} {
				got[key] = env(t, d, "p-n-app-1", key)
			}
			want := map[string]string{
				"LEVEL": c.want, "DERIVED": "level " + c.want + " on n$", "PLAIN": "yes 0777", "BUILTIN": "n h.example s p-n",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReferences shows that a reference survives inside longer texts and that values with
// spaces, quotes and dollars around it stay as they are.
func TestReferences(t *testing.T) {
	root := repo(t, "stacks: [{name: s}]", `
variables:
  USER: op://My Vault/item/user
  URL: postgres://${USER}:{{ OP://My Vault/item/section/pass word?attribute=value }}@db/x?q=${LEVEL}
contract:
  - {name: URL, minLength: 20}`, `
services:
  app: {image: app, environment: {URL: "${URL}"}}
`)
	d := mustLoad(t, root, "n")
	want := "postgres://" + api.Placeholder("op://My Vault/item/user") + ":" +
		api.Placeholder("op://My Vault/item/section/pass word?attribute=value") + "@db/x?q=fleet"
	if got := env(t, d, "s-app-1", "URL"); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	wantRules := []api.ContractRule{{Rule: api.VariableRule{Name: "URL", MinLength: 20}, Value: want}}
	if diff := cmp.Diff(wantRules, d.Stacks[0].Contract); diff != "" {
		t.Errorf("contract: %s", diff)
	}
}

const listPool = `
services:
  w1: {image: w, ports: ["5003:80"], networks: [shared, first]}
  w2: {image: w, ports: ["5004:80"], profiles: [scale-2], networks: [shared, second]}
  w3: {image: w, ports: ["5007:80"], profiles: [scale-3]}
  web: {image: web, networks: [shared], depends_on: {w1: {condition: service_started, required: false}}}
networks: {shared: {}, first: {}, second: {}}
`

func TestListPool(t *testing.T) {
	cases := []struct {
		scale      string
		containers string
		networks   string
	}{
		{"", "s-w1-1 5003, s-web-1", "first shared"},
		{"scale: {w: 0}", "s-web-1", "shared"},
		{"scale: {w: 2}", "s-w1-1 5003, s-w2-1 5004, s-web-1", "first second shared"},
		{"scale: {w: 3}", "s-w1-1 5003, s-w2-1 5004, s-w3-1 5007, s-web-1", "default first second shared"},
	}
	for _, c := range cases {
		t.Run(c.scale, func(t *testing.T) {
			d := mustLoad(t, repo(t, "stacks: [{name: s}]\n"+c.scale, "pools: {w: {services: [w1, w2, w3], default: 1}}", listPool), "n")
			got := strings.ReplaceAll(strings.Join(containers(d), ", "), "s: ", "")
			if got != c.containers {
				t.Errorf("containers: %s, want %s", got, c.containers)
			}
			var networks []string
			for _, network := range d.Stacks[0].Networks {
				networks = append(networks, network.Key)
			}
			if got := strings.Join(networks, " "); got != c.networks {
				t.Errorf("networks: %s, want %s", got, c.networks)
			}
		})
	}
}

const templatePool = `
services:
  worker:
    image: w
    container_name: worker
    ports: ["${PORT}:${PORT}"]
    environment: {PUBLIC: "${PUBLIC}", REPLICA: "${REPLICA}"}
    volumes: [data:/data]
  other: {image: o}
volumes: {data: {}}
`

func TestTemplatePool(t *testing.T) {
	stack := "variables: {PUBLIC: 'http://${NODE_HOSTNAME}:${PORT}'}\npools: {w: {template: worker, ports: [5003, 5004, 5007], nextPort: 5009, max: 5, default: 1}}"
	load := func(scale int) *api.Desired {
		return mustLoad(t, repo(t, fmt.Sprintf("hostname: h.example\nstacks: [{name: s}]\nscale: {w: %d}", scale), stack, templatePool), "n")
	}
	d := load(5)
	want := []string{"s: s-other-1", "s: worker-1 5003", "s: worker-2 5004", "s: worker-3 5007", "s: worker-4 5009", "s: worker-5 5010"}
	if diff := cmp.Diff(want, containers(d)); diff != "" {
		t.Error(diff)
	}
	if got := env(t, d, "worker-4", "PUBLIC"); got != "http://h.example:5009" {
		t.Errorf("address of slot 4: %s", got)
	}
	service := d.Stacks[0].Service("worker")
	for i, replica := range service.Replicas {
		if replica.Number != i+1 || replica.SpecHash != replica.Spec.Hash() {
			t.Errorf("slot %d: number %d, hash %s", i+1, replica.Number, replica.SpecHash)
		}
		wantAliases := []string{fmt.Sprintf("worker-%d", i+1), "worker"}
		if diff := cmp.Diff(wantAliases, replica.Spec.Endpoints[0].Aliases); diff != "" {
			t.Errorf("aliases of slot %d: %s", i+1, diff)
		}
	}
	// A slot stays what it is when others come and go.
	if diff := cmp.Diff(service.Replicas[:2], load(2).Stacks[0].Service("worker").Replicas); diff != "" {
		t.Errorf("slots change with the scale: %s", diff)
	}
	if none := load(0); none.Stacks[0].Service("worker") != nil || len(none.Stacks[0].Volumes) > 0 {
		t.Errorf("scale 0 leaves %v, volumes %v", containers(none), none.Stacks[0].Volumes)
	}
	root := repo(t, "hostname: h.example\nstacks: [{name: s}]", stack, strings.Replace(templatePool, "{image: o}", "{image: 'o:${PORT}'}", 1))
	if got := problems(t, root); !strings.Contains(got, "services.other: uses ${REPLICA} or ${PORT}") {
		t.Errorf("a port outside of the template: %s", got)
	}
}

// TestMounts merges what stack and node require: the stricter of both, and no contradiction.
func TestMounts(t *testing.T) {
	stack := "mounts: [{path: /data, writable: true, timeout: 9s}, {path: '/srv/${NODE_NAME}', gid: 7}]"
	d := mustLoad(t, repo(t, "stacks: [{name: s}]\nmounts: [{path: /data, type: nfs, gid: 5}]", stack, "services: {a: {image: a}}"), "n")
	gids := []int{5, 7}
	want := []api.RequiredMount{
		{Path: "/data", Type: "nfs", Writable: true, GID: &gids[0], Timeout: 9 * time.Second},
		{Path: "/srv/n", GID: &gids[1], Timeout: 5 * time.Second},
	}
	if diff := cmp.Diff(want, d.Stacks[0].Mounts); diff != "" {
		t.Error(diff)
	}
	got := problems(t, repo(t, "stacks: [{name: s}]\nmounts: [{path: /data, type: nfs, gid: 5}]",
		"mounts: [{path: /data, type: ext4, gid: 6}, {path: '${LEVEL}'}]", "services: {a: {image: a}}"))
	for _, want := range []string{"must be of type ext4 for the stack and nfs for the node", "must belong to group 6 for the stack and 5", "must be an absolute path"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

// TestOneProblemIsToldOnce although every slot of a pool shows it.
func TestOneProblemIsToldOnce(t *testing.T) {
	root := repo(t, "stacks: [{name: s}]", "pools: {w: {template: w, max: 3, default: 3}}", "services: {w: {image: w, environment: {DB_PASSWORD: canary}}}")
	got := problems(t, root)
	if strings.Count(got, "looks like a secret") != 1 || strings.Contains(got, "canary") {
		t.Errorf("got:\n%s", got)
	}
}

func TestSeveralTemplates(t *testing.T) {
	compose := `
services:
  a: {image: a, PROFILES ports: ["${PORT}:1"]}
  b: {image: b, PROFILES ports: ["${PORT}:1"]}
`
	stack := "pools: {a: {template: a, ports: [5003, 5004], default: 2}, b: {template: b, ports: [6003], default: 1}}"
	root := repo(t, "stacks: [{name: s}]", stack, strings.ReplaceAll(compose, "PROFILES", ""))
	if got := problems(t, root); !strings.Contains(got, "compose.yaml:3:3: services.a: is one of several templates of pools: give each a profile") {
		t.Errorf("without profiles: %s", got)
	}
	d := mustLoad(t, repo(t, "stacks: [{name: s}]", stack, strings.ReplaceAll(compose, "PROFILES", "profiles: [slots],")), "n")
	if diff := cmp.Diff([]string{"s: a-1 5003", "s: a-2 5004", "s: b-1 6003"}, containers(d)); diff != "" {
		t.Error(diff)
	}
}
