package desired_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
  w1: {image: w, ports: ["5003:80"], networks: [shared]}
  w2: {image: w, ports: ["5004:80"], profiles: [scale-2], networks: [shared, second]}
  w3: {image: w, ports: ["5007:80"], profiles: [scale-3]}
  web: {image: web, networks: [shared], depends_on: {w1: {condition: service_started, required: false}}}
networks: {shared: {}, second: {}}
`

func TestListPool(t *testing.T) {
	cases := []struct {
		scale      string
		containers string
		networks   string
	}{
		{"", "s-w1-1 5003, s-web-1", "shared"},
		{"scale: {w: 0}", "s-web-1", "shared"},
		{"scale: {w: 2}", "s-w1-1 5003, s-w2-1 5004, s-web-1", "second shared"},
		{"scale: {w: 3}", "s-w1-1 5003, s-w2-1 5004, s-w3-1 5007, s-web-1", "default second shared"},
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

// TestSliceIsIndependent shows that a mistake on another node does not concern this one.
func TestSliceIsIndependent(t *testing.T) {
	root := t.TempDir()
	copyTree(t, sample(t), root)
	before := text(t, mustLoad(t, root, "b"))
	for _, file := range []string{"nodes/a.yaml", "stacks/core/compose.yaml", "stacks/gpu/stack.yaml"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte("broken: ["), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if after := text(t, mustLoad(t, root, "b")); before != after {
		t.Error(cmp.Diff(before, after))
	}
	if _, err := desired.Validate(t.Context(), root); err == nil || strings.Count(err.Error(), "invalid YAML") != 3 {
		t.Errorf("Validate tells %v", err)
	}
}

func TestConfinement(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"n.yaml", "stack.yaml", "fleet.yaml"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte("canary: outside"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"fleet.yaml": "fleet.yaml", "nodes/n.yaml": "n.yaml", "stacks/s/stack.yaml": "stack.yaml", "stacks/s": "", "nodes": "",
	} {
		t.Run(name, func(t *testing.T) {
			root := repo(t, "stacks: [{name: s}]", "{}", "services: {a: {image: a}}")
			if err := os.RemoveAll(filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(outside, target), filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			got := report(t, root) + problems(t, root)
			if strings.Contains(got, "canary") || problems(t, root) == "" {
				t.Errorf("a way out of the repository: %s", got)
			}
		})
	}
}

func TestHostileFiles(t *testing.T) {
	entries := strings.Repeat("      - /a\n", 2000)
	bomb := "  stacks:\n    - &s\n      name: s\n      adoptFrom:\n" + entries + strings.Repeat("    - *s\n", 100)
	head := "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: n}\nspec:\n"
	cases := map[string]struct {
		data []byte
		want string
	}{
		"too large":   {bytes.Repeat([]byte("#"), 1<<20+1), "nodes/n.yaml:1:1: is larger than 1048576 bytes"},
		"not UTF-8":   {[]byte("a: \xff"), "nodes/n.yaml:1:1: is not UTF-8 text (byte 3)"},
		"alias bomb":  {[]byte(head + bomb), "more than 50000 values when aliases are expanded"},
		"deep":        {[]byte(strings.Repeat("[", 100_000)), "invalid YAML"},
		"not a map":   {[]byte("- a\n"), "nodes/n.yaml:1:1: must be a mapping, not a list"},
		"binary tag":  {[]byte(head + "  variables: {A: !!binary aGk=}\n"), "spec.variables.A: tags are not supported"},
		"custom tag":  {[]byte(head + "  variables: {A: !x y}\n"), "spec.variables.A: tags are not supported"},
		"complex key": {[]byte(head + "  variables: {[a]: b}\n"), "spec.variables: a key must be plain text"},
		"null":        {[]byte("null\n"), "nodes/n.yaml:1:1: apiVersion is missing"},
		"NUL":         {[]byte("a: \x00"), "invalid YAML"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := repo(t, "stacks: []", "{}", "")
			if err := os.WriteFile(filepath.Join(root, "nodes/n.yaml"), c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := problems(t, root); !strings.Contains(got, c.want) {
				t.Errorf("got %.300s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := desired.Load(ctx, desired.Request{Root: sample(t), Node: "b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, request := range []desired.Request{{Root: "relative", Node: "a"}, {Root: "/nonexistent", Node: "a"}, {Root: sample(t), Node: "../a"}, {Root: sample(t), Node: "x"}} {
		if _, _, err := desired.Load(t.Context(), request); err == nil {
			t.Errorf("%+v: no error", request)
		}
	}
	d, _, err := desired.Load(t.Context(), desired.Request{Root: sample(t), Node: "b", Revision: "r9"})
	if err != nil || d.Revision != "r9" || d.Root != sample(t) || d.Node != "b" {
		t.Errorf("%+v, %v", d, err)
	}
}
