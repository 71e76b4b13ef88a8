package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

// base allows what an ordinary container needs.
const base = `
references: ["op://Vault One/item/*", "akv://my-vault/db-*"]
registries: [docker.io, "*.example.com", "localhost:5000"]
images: [docker.io/library/*, "registry.example.com/team/**:v*", "localhost:5000/app@sha256:*"]
hostPaths:
  - {path: /mnt/data, writable: true}
  - path: /srv/config
`

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stackOf is a stack of one service.
func stackOf(change func(*api.ContainerSpec)) *api.Stack {
	spec := api.ContainerSpec{Image: "redis:7"}
	change(&spec)
	return &api.Stack{Name: "s", Services: []api.Service{{Name: "web", Replicas: []api.Replica{{Number: 1, Name: "web", Spec: spec}}}}}
}

func rules(violations []policy.Violation) []string {
	var list []string
	for _, v := range violations {
		list = append(list, v.Rule+" "+v.Field)
	}
	return list
}

func TestImages(t *testing.T) {
	p := parse(t, base)
	digest := "@sha256:" + strings.Repeat("ab", 32)
	for image, want := range map[string][]string{
		"redis":                                     nil,
		"docker.io/library/redis:7":                 nil,
		"index.docker.io/library/redis:7":           nil,
		"redis:7" + digest:                          nil,
		"grafana/grafana":                           {"images services.web.image"},
		"registry.example.com/team/a/b:v1":          nil,
		"registry.example.com/team/a/b":             {"images services.web.image"},
		"registry.example.com/team/a:v1" + digest:   {"images services.web.image"}, // the tag says nothing
		"registry.example.com/other:v1":             {"images services.web.image"},
		"registry.example.com.evil.org/team/a:v1":   {"images services.web.image", "registries services.web.image"},
		"registry.example.com:8443/team/a:v1":       {"images services.web.image", "registries services.web.image"},
		"localhost:5000/app" + digest:               nil,
		"localhost:5000/app:1":                      {"images services.web.image"},
		"sha256:" + strings.Repeat("ab", 32):        {"images services.web.image"},
		strings.Repeat("ab", 32):                    {"images services.web.image"},
		"":                                          {"images services.web.image"},
		api.Placeholder("op://Vault One/item/name"): {"images services.web.image", "references services.web.image"},
	} {
		got := rules(p.Check(stackOf(func(s *api.ContainerSpec) { s.Image = image }), policy.Host{}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", image, diff)
		}
	}
}

func TestReferences(t *testing.T) {
	p := parse(t, base)
	for ref, want := range map[string]bool{
		"op://Vault One/item/password":                true,
		"op://vault one/ITEM/password":                true, // names don't tell cases apart
		"OP://Vault One/item/password":                true,
		"op://Vault One/item/password?attribute=otp":  true,
		"op://Vault One/item/section/password":        false,
		"op://Vault One/item2/password":               false,
		"op://Vault Two/item/password":                false,
		"op://Vault One/item":                         false,
		"akv://my-vault/db-password":                  true,
		"akv://my-vault/api-key":                      false,
		"akv://other/db-password":                     false,
		"op://Vault One/item/x\nop://Vault Two/i/f":   false,
		"not a reference":                             false,
		"op://Vault One/item/../../Vault Two/item/pw": false,
	} {
		if got := p.AllowsReference(ref); got != want {
			t.Errorf("%q is allowed: %t, want %t", ref, got, want)
		}
	}
	if (&policy.Policy{}).AllowsReference("op://v/i/f") {
		t.Error("an empty policy allows a reference")
	}
}

// A reference counts wherever it stands.
func TestReferencesEverywhere(t *testing.T) {
	p := parse(t, base)
	evil := "x" + api.Placeholder("op://Other/item/password") + "y"
	hook := []api.Hook{{Command: []string{"sh", "-c", evil}}}
	stacks := map[string]*api.Stack{
		"services.web.environment": stackOf(func(s *api.ContainerSpec) { s.Env = []string{"A=" + evil} }),
		"services.web.command":     stackOf(func(s *api.ContainerSpec) { s.Command = []string{evil} }),
		"services.web.healthcheck": stackOf(func(s *api.ContainerSpec) { s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", evil}} }),
		"services.web.labels":      stackOf(func(s *api.ContainerSpec) { s.Labels = map[string]string{"a": evil} }),
		"services.web.secrets":     stackOf(func(s *api.ContainerSpec) { s.Files = []api.File{{Content: evil}} }),
		"services.web.logging":     stackOf(func(s *api.ContainerSpec) { s.Logging = &api.Logging{Options: map[string]string{"tag": evil}} }),
		"contract":                 {Contract: []api.ContractRule{{Value: evil}}},
		"services.web.post_start":  {Services: []api.Service{{Name: "web", PostStart: hook}}},
		"services.web.pre_stop":    {Services: []api.Service{{Name: "web", PreStop: []api.Hook{{Env: []string{evil}}}}}},
		"services.web.probe":       {Services: []api.Service{{Name: "web", Probe: &api.Probe{Exec: []string{evil}}}}},
	}
	for field, stack := range stacks {
		got := p.Check(stack, policy.Host{})
		if diff := cmp.Diff([]string{"references " + field}, rules(got)); diff != "" {
			t.Errorf("%s: %s", field, diff)
		}
	}
	registries := policy.Host{Registries: []api.Registry{{Host: "docker.io", Password: evil}, {Host: "ghcr.io", Password: evil}}}
	got := rules(p.Check(stackOf(func(*api.ContainerSpec) {}), registries))
	if diff := cmp.Diff([]string{"references services.web.image (login of registry docker.io)"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostPaths(t *testing.T) {
	p := parse(t, base)
	bind := func(source string, more ...func(*api.Mount)) *api.Stack {
		return stackOf(func(s *api.ContainerSpec) {
			m := api.Mount{Type: api.MountBind, Source: source, Target: "/x"}
			for _, change := range more {
				change(&m)
			}
			s.Mounts = []api.Mount{m}
		})
	}
	readOnly := func(m *api.Mount) { m.ReadOnly = true }
	host := policy.Host{
		Links: map[string]string{
			"/mnt/data/link": "/etc", "/mnt/data/inside": "/mnt/data/real", "/var/run": "/run", "/var/run/docker.sock": "/run/docker.sock",
		},
		Guarded: []string{"/run/docker.sock", "/var/lib/ktrdr"},
	}
	hostPaths, socket := []string{"hostPaths services.web.volumes"}, "privileges.dockerSocket services.web.volumes"
	for name, test := range map[string]struct {
		stack *api.Stack
		want  []string
	}{
		"itself":               {bind("/mnt/data"), nil},
		"below":                {bind("/mnt/data/models"), nil},
		"trailing slash":       {bind("/mnt/data/"), nil},
		"neighbour":            {bind("/mnt/database"), hostPaths},
		"above":                {bind("/mnt"), hostPaths},
		"root":                 {bind("/"), append(slices.Clone(hostPaths), socket)},
		"dots":                 {bind("/mnt/data/../../etc"), hostPaths},
		"dots that stay":       {bind("/mnt/data/x/../y"), hostPaths},
		"relative":             {bind("etc"), hostPaths},
		"read-only":            {bind("/srv/config", readOnly), nil},
		"writable":             {bind("/srv/config/a"), hostPaths},
		"relabelled":           {bind("/srv/config", readOnly, func(m *api.Mount) { m.SELinux = "Z" }), hostPaths},
		"writable below":       {bind("/srv/config", readOnly, func(m *api.Mount) { m.Recursive = "writable" }), hostPaths},
		"link out":             {bind("/mnt/data/link", readOnly), hostPaths},
		"link inside":          {bind("/mnt/data/inside"), nil},
		"socket":               {bind("/run/docker.sock", readOnly), []string{socket}},
		"socket through link":  {bind("/var/run/docker.sock"), []string{"hostPaths services.web.volumes", socket}},
		"folder of the socket": {bind("/run"), append(slices.Clone(hostPaths), socket)},
		"the agent's files":    {bind("/var/lib/ktrdr/state.db"), append(slices.Clone(hostPaths), socket)},
		"a file of the repository": {bind("", func(m *api.Mount) {
			m.Repo = &api.RepoSource{Path: "a", Digest: "sha256:x"}
		}), nil},
		"volume":           {bind("s_data", func(m *api.Mount) { m.Type = api.MountVolume }), nil},
		"disguised volume": {bind("/etc", func(m *api.Mount) { m.Type = api.MountVolume }), hostPaths},
		"pipe":             {bind("//./pipe/docker_engine", func(m *api.Mount) { m.Type = api.MountNamedPipe }), hostPaths},
		"reference":        {bind(api.Placeholder("op://Vault One/item/path")), []string{"hostPaths services.web.volumes", "references services.web.volumes"}},
		"reference2":       {bind("/mnt/data/" + api.Placeholder("op://Vault One/item/path")), []string{"references services.web.volumes"}},
		"required":         {&api.Stack{Mounts: []api.RequiredMount{{Path: "/mnt/data", Writable: true}, {Path: "/srv/config"}}}, nil},
		"required, written to": {
			&api.Stack{Mounts: []api.RequiredMount{{Path: "/srv/config", Writable: true}}}, []string{"hostPaths mounts"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, rules(p.Check(test.stack, host))); diff != "" {
				t.Error(diff)
			}
		})
	}
	open := parse(t, base+"privileges: {dockerSocket: true}\n")
	for _, name := range []string{"/run/docker.sock", "/var/run/docker.sock"} {
		if name == "/var/run/docker.sock" {
			host.Guarded = append(host.Guarded, name)
		}
		if got := open.Check(bind(name), host); len(got) > 0 {
			t.Errorf("%s: %v, although dockerSocket allows it", name, got)
		}
	}
	if got := rules(open.Check(bind("/run"), host)); !slices.Equal(got, hostPaths) {
		t.Errorf("dockerSocket opens the folder: %v", got)
	}
}

// A hook with privileges is a way around those of its container.
func TestPrivilegedHooks(t *testing.T) {
	hook := []api.Hook{{Command: []string{"id"}, Privileged: true}}
	stack := &api.Stack{Services: []api.Service{{Name: "web", PostStart: hook, PreStop: hook}}}
	want := []string{"privileges.privileged services.web.post_start.privileged", "privileges.privileged services.web.pre_stop.privileged"}
	if diff := cmp.Diff(want, rules(parse(t, base).Check(stack, policy.Host{}))); diff != "" {
		t.Error(diff)
	}
	if got := parse(t, base+"privileges: {privileged: true}\n").Check(stack, policy.Host{}); len(got) > 0 {
		t.Error(got)
	}
}

func TestVolumesAndNetworks(t *testing.T) {
	p := parse(t, base+"privileges: {volumeDrivers: [local/nfs, rclone], networkDrivers: [macvlan]}\n")
	volume := func(driver string, opts map[string]string) *api.Stack {
		return &api.Stack{Volumes: []api.VolumeSpec{{Key: "v", Name: "s_v", Driver: driver, DriverOpts: opts}}}
	}
	network := func(driver string) *api.Stack {
		return &api.Stack{Networks: []api.NetworkSpec{{Key: "n", Driver: driver}}}
	}
	for name, test := range map[string]struct {
		stack *api.Stack
		want  []string
	}{
		"plain":            {volume("", nil), nil},
		"bind inside":      {volume("local", map[string]string{"type": "none", "o": "bind", "device": "/mnt/data/v"}), nil},
		"bind outside":     {volume("local", map[string]string{"type": "none", "o": "rw,bind", "device": "/etc"}), []string{"hostPaths volumes.v.driver_opts.device"}},
		"rbind":            {volume("", map[string]string{"o": "rbind", "device": "/etc"}), []string{"hostPaths volumes.v.driver_opts.device"}},
		"read-only bind":   {volume("", map[string]string{"o": "bind,ro", "device": "/srv/config"}), nil},
		"disk":             {volume("", map[string]string{"type": "ext4", "device": "/dev/sda1"}), []string{"privileges.volumeDrivers volumes.v.driver_opts"}},
		"overlay":          {volume("", map[string]string{"type": "overlay", "o": "lowerdir=/etc"}), []string{"privileges.volumeDrivers volumes.v.driver_opts"}},
		"nfs":              {volume("", map[string]string{"type": "nfs", "device": ":/x"}), nil},
		"tmpfs":            {volume("", map[string]string{"type": "tmpfs", "device": "tmpfs"}), nil},
		"driver":           {volume("rclone", nil), nil},
		"another driver":   {volume("sshfs", nil), []string{"privileges.volumeDrivers volumes.v.driver"}},
		"hidden in secret": {volume("", map[string]string{"o": api.Placeholder("op://Vault One/item/o"), "device": "/etc"}), []string{"references volumes.v", "privileges.volumeDrivers volumes.v.driver_opts"}},
		"external":         {&api.Stack{Volumes: []api.VolumeSpec{{Key: "v", External: true}}}, nil},
		"bridge":           {network("bridge"), nil},
		"macvlan":          {network("macvlan"), nil},
		"ipvlan":           {network("ipvlan"), []string{"privileges.networkDrivers networks.n.driver"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, rules(p.Check(test.stack, policy.Host{}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMessage is what an operator reads: the place, the rule, and what an administrator
// has to write, which then allows it.
func TestMessage(t *testing.T) {
	stack := stackOf(func(s *api.ContainerSpec) {
		s.Image, s.CapAdd, s.Privileged = "ghcr.io/evil/app:1", []string{"cap_net_admin"}, true
		s.Env = []string{"A=" + api.Placeholder("op://Other: x/i/f")}
		s.Env = append(s.Env, "B="+api.Placeholder("op://Other/i/f"))
		s.Mounts = []api.Mount{{Type: api.MountBind, Source: "/etc/ssl", Target: "/x", ReadOnly: true}}
	})
	var lines []string
	for _, v := range parse(t, base).Check(stack, policy.Host{}) {
		lines = append(lines, v.Message("/etc/ktrdr/policy.yaml"))
	}
	want := []string{
		"services.web.cap_add: NET_ADMIN is not allowed by rule privileges.capabilities of this node's policy: take it out of the desired state, or let an administrator of the node write `- NET_ADMIN` under privileges.capabilities in /etc/ktrdr/policy.yaml",
		"services.web.environment: op://Other/i/f is not allowed by rule references of this node's policy: take it out of the desired state, or let an administrator of the node write `- op://Other/i/f` under references in /etc/ktrdr/policy.yaml",
		"services.web.image: ghcr.io/evil/app:1 is not allowed by rule images of this node's policy: take it out of the desired state, or let an administrator of the node write `- ghcr.io/evil/app` under images in /etc/ktrdr/policy.yaml",
		"services.web.image: ghcr.io is not allowed by rule registries of this node's policy: take it out of the desired state, or let an administrator of the node write `- ghcr.io` under registries in /etc/ktrdr/policy.yaml",
		"services.web.privileged: true is not allowed by rule privileges.privileged of this node's policy: take it out of the desired state, or let an administrator of the node write `privileged: true` under privileges in /etc/ktrdr/policy.yaml",
		"services.web.volumes: /etc/ssl (read-only) is not allowed by rule hostPaths of this node's policy: take it out of the desired state, or let an administrator of the node write `- {path: /etc/ssl, writable: false}` under hostPaths in /etc/ktrdr/policy.yaml",
	}
	malformed := "services.web.environment: op://Other: x/i/f is not allowed by rule references of this node's policy: take it out of the desired state, or let an administrator of the node write a reference that is well formed in /etc/ktrdr/policy.yaml"
	want = slices.Insert(want, 2, malformed)
	slices.Sort(want)
	slices.Sort(lines)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

// What a fix says has to work: with all of them written, nothing is left.
func TestFixesFix(t *testing.T) {
	stack := everything()
	sections, privileges := map[string][]string{}, map[string][]string{}
	for _, v := range parse(t, "").Check(stack, policy.Host{Guarded: []string{"/run/docker.sock"}}) {
		line, rule, ok := strings.Cut(strings.Trim(v.Fix, "`"), "` under ")
		if !ok {
			t.Errorf("%s: fix %q", v.Field, v.Fix)
			continue
		}
		if name, found := strings.CutPrefix(rule, "privileges."); found {
			privileges[name] = append(privileges[name], "    "+line)
		} else {
			sections[rule] = append(sections[rule], "  "+line)
		}
	}
	var text strings.Builder
	for rule, lines := range sections {
		slices.Sort(lines)
		text.WriteString(rule + ":\n" + strings.Join(slices.Compact(lines), "\n") + "\n")
	}
	if _, ok := sections["privileges"]; !ok {
		t.Fatal("no switch was asked for")
	}
	for name, lines := range privileges {
		slices.Sort(lines)
		block := "  " + name + ":\n" + strings.Join(slices.Compact(lines), "\n") + "\n"
		whole := text.String()
		text.Reset()
		text.WriteString(strings.Replace(whole, "privileges:\n", "privileges:\n"+block, 1))
	}
	p := parse(t, text.String())
	if got := p.Check(stack, policy.Host{Guarded: []string{"/run/docker.sock"}}); len(got) > 0 {
		t.Errorf("with all fixes written:\n%s\nstill denied: %v", text.String(), got)
	}
}
