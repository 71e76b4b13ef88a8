package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func TestEffectiveMergesOverTheImage(t *testing.T) {
	image := &api.Image{Config: api.ContainerSpec{
		Command: []string{"run"}, Entrypoint: []string{"/init"}, Env: []string{"PATH=/bin", "A=image"},
		Labels: map[string]string{"l": "image"}, User: "app", WorkingDir: "/srv", StopSignal: "SIGQUIT", Expose: []string{"80/tcp"},
		Healthcheck: &api.Healthcheck{Test: []string{"CMD", "check"}, Interval: time.Second, Retries: 3},
	}}
	tests := []struct {
		name string
		spec api.ContainerSpec
		want func(*api.ContainerSpec)
	}{
		{"nothing", api.ContainerSpec{}, func(*api.ContainerSpec) {}},
		{"command only", api.ContainerSpec{Command: []string{"x"}}, func(s *api.ContainerSpec) { s.Command = []string{"x"} }},
		{"empty command is the image's", api.ContainerSpec{Command: []string{}}, func(*api.ContainerSpec) {}},
		{"entrypoint clears the command", api.ContainerSpec{Entrypoint: []string{"/x"}}, func(s *api.ContainerSpec) {
			s.Entrypoint, s.Command = []string{"/x"}, nil
		}},
		{"empty entrypoint", api.ContainerSpec{Entrypoint: []string{}}, func(s *api.ContainerSpec) { s.Entrypoint = []string{} }},
		{"variables", api.ContainerSpec{Env: []string{"A=own", "PATH"}}, func(s *api.ContainerSpec) { s.Env = []string{"A=own"} }},
		{"labels of tools", api.ContainerSpec{Labels: map[string]string{"com.docker.compose.project": "p", "l": "own"}}, func(s *api.ContainerSpec) {
			s.Labels = map[string]string{"l": "own"}
		}},
		{"healthcheck", api.ContainerSpec{Healthcheck: &api.Healthcheck{Interval: time.Minute}}, func(s *api.ContainerSpec) {
			s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "check"}, Interval: time.Minute, Retries: 3}
		}},
		{"no healthcheck", api.ContainerSpec{Healthcheck: &api.Healthcheck{Test: []string{"NONE"}, Interval: time.Minute}}, func(s *api.ContainerSpec) {
			s.Healthcheck = &api.Healthcheck{Test: []string{"NONE"}}
		}},
		{"ports", api.ContainerSpec{Ports: []api.Port{{Target: 53, Protocol: "UDP"}}, Expose: []string{"7-8"}}, func(s *api.ContainerSpec) {
			s.Ports = []api.Port{{Target: 53, Protocol: "udp"}}
			s.Expose = []string{"53/udp", "7/tcp", "8/tcp", "80/tcp"}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.spec.NetworkMode = "none"
			want := api.ContainerSpec{
				Command: []string{"run"}, Entrypoint: []string{"/init"}, Env: []string{"A=image", "PATH=/bin"},
				Labels: map[string]string{"l": "image"}, User: "app", WorkingDir: "/srv", StopSignal: "QUIT", Expose: []string{"80/tcp"},
				Healthcheck: &api.Healthcheck{Test: []string{"CMD", "check"}, Interval: time.Second, Retries: 3},
				Restart:     api.RestartPolicy{Name: "no"}, NetworkMode: "none",
			}
			tc.want(&want)
			if diff := cmp.Diff(want, plan.Effective(tc.spec, image)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffNamesFieldsInComposeWords(t *testing.T) {
	have := api.ContainerSpec{
		Image: "redis", Command: []string{"redis", "--port", "1"}, Env: []string{"GONE=1", "OLD=1", "SAME=1"}, NetworkMode: "bridge",
		Restart: api.RestartPolicy{Name: "always"}, Ports: []api.Port{{HostIP: "127.0.0.1", Published: "80", Target: 8080}},
		Mounts:    []api.Mount{{Type: "bind", Source: "/a", Target: "/data"}, {Type: "volume", Source: "v", Target: "/same"}},
		Resources: api.Resources{Memory: 1 << 20, NanoCPUs: 5e8},
		StopGrace: new(3 * time.Second),
	}
	want := api.ContainerSpec{
		Image: "redis:7", Command: []string{"redis", "--port", "2"}, Env: []string{"NEW=1", "OLD=2", "SAME=1"},
		Endpoints: []api.Endpoint{{Network: "core", Aliases: []string{"redis"}}},
		Mounts:    []api.Mount{{Type: "bind", Source: "/b", Target: "/data", ReadOnly: true}, {Type: "volume", Source: "v", Target: "/same"}},
	}
	got := plan.Diff(have, plan.Effective(want, nil))
	expected := []plan.FieldDiff{
		{Path: "command", Have: `["redis","--port","…"]`, Want: `["redis","--port","2"]`},
		{Path: "cpus", Have: "0.5", Want: ""},
		{Path: "environment.GONE", Have: "(removed)", Want: ""},
		{Path: "environment.NEW", Have: "", Want: "(added)"},
		{Path: "environment.OLD", Have: "(changed)", Want: "(changed)"},
		{Path: "image", Have: "docker.io/library/redis:latest", Want: "docker.io/library/redis:7"},
		{Path: "mem_limit", Have: "1048576", Want: ""},
		{Path: "network_mode", Have: "bridge", Want: ""},
		{Path: "networks.core", Have: "", Want: "(added)"},
		{Path: "ports", Have: `["127.0.0.1:80:8080/tcp"]`, Want: ""},
		{Path: "restart", Have: "always", Want: "no"},
		{Path: "stop_grace_period", Have: "3s", Want: "10s"},
		{Path: "volumes[/data]", Have: "bind /a", Want: "bind /b read_only"},
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiffTakesEnginesDefaultsForWhatWasLeftOut(t *testing.T) {
	tests := []struct {
		name       string
		have, want api.ContainerSpec
	}{
		{
			"swap twice the memory",
			api.ContainerSpec{Resources: api.Resources{Memory: 10, MemorySwap: 20}},
			api.ContainerSpec{Resources: api.Resources{Memory: 10}},
		},
		{
			"no swap accounting",
			api.ContainerSpec{Resources: api.Resources{Memory: 10, MemorySwap: -1}},
			api.ContainerSpec{Resources: api.Resources{Memory: 10, MemorySwap: 15}},
		},
		{"driver, runtime, shm, ipc, cgroup", api.ContainerSpec{
			Logging: &api.Logging{Driver: "journald"}, Runtime: "runc", ShmSize: 64 << 20, IpcMode: "private", CgroupnsMode: "host",
			Resources: api.Resources{Ulimits: []api.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}, PidsLimit: new(int64(0))},
		}, api.ContainerSpec{}},
		{
			"log options of the engine",
			api.ContainerSpec{Logging: &api.Logging{Driver: "json-file", Options: map[string]string{"max-size": "1m", "tag": "x"}}},
			api.ContainerSpec{Logging: &api.Logging{Options: map[string]string{"max-size": "1m"}}},
		},
		{
			"legacy security option",
			api.ContainerSpec{SecurityOpt: []string{"apparmor=unconfined", "no-new-privileges"}},
			api.ContainerSpec{SecurityOpt: []string{"no-new-privileges:true", "apparmor:unconfined"}},
		},
		{"label that privileged brings", api.ContainerSpec{Privileged: true, UnmaskedPaths: true, SecurityOpt: []string{"label=disable"}}, api.ContainerSpec{Privileged: true}},
		{
			"service references",
			api.ContainerSpec{NetworkMode: "container:0123", VolumesFrom: []string{"4567:ro"}},
			api.ContainerSpec{NetworkMode: "service:vpn", VolumesFrom: []string{"service:db:ro"}},
		},
		{"links", api.ContainerSpec{Links: []string{"p-db-1:db", "p-db-1:db-1", "p-db-1:p-db-1"}}, api.ContainerSpec{Links: []string{"db"}}},
		{"fraction of grace, rounded down", api.ContainerSpec{StopGrace: new(time.Second)}, api.ContainerSpec{StopGrace: new(1500 * time.Millisecond)}},
		{"fraction of grace, rounded up", api.ContainerSpec{StopGrace: new(2 * time.Second)}, api.ContainerSpec{StopGrace: new(1500 * time.Millisecond)}},
		{
			"made mac address",
			api.ContainerSpec{Endpoints: []api.Endpoint{{Network: "n", MacAddress: "de:ad:be:ef:00:01"}}},
			api.ContainerSpec{Endpoints: []api.Endpoint{{Network: "n"}}},
		},
		{
			"repository file",
			api.ContainerSpec{Mounts: []api.Mount{{Type: "bind", Source: "/var/lib/ktrdr/abc", Target: "/x", ReadOnly: true}}},
			api.ContainerSpec{Mounts: []api.Mount{{Type: "bind", Repo: &api.RepoSource{Path: "x.conf", Digest: "sha256:1"}, Target: "/x", ReadOnly: true}}},
		},
		{"image id", api.ContainerSpec{Image: "sha256:0123"}, api.ContainerSpec{Image: "app:1"}},
		{"hostname of the host", api.ContainerSpec{NetworkMode: "host", Hostname: "node-b"}, api.ContainerSpec{NetworkMode: "host"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if diffs := plan.Diff(tc.have, plan.Effective(tc.want, nil)); len(diffs) > 0 {
				t.Errorf("differences: %+v", diffs)
			}
			changed := tc.want
			changed.User = "other"
			if diffs := plan.Diff(tc.have, plan.Effective(changed, nil)); len(diffs) != 1 || diffs[0].Path != "user" {
				t.Errorf("with another user: %+v", diffs)
			}
		})
	}
}

// TestDiffNeverTellsASecret plants a value wherever a container may hold one.
func TestDiffNeverTellsASecret(t *testing.T) {
	const secret = "hunter2-hunter2"
	reference := api.Placeholder("op://vault/item/field")
	have := api.ContainerSpec{
		Env: []string{"A=" + secret}, Labels: map[string]string{"l": secret}, Command: []string{"run", "--password=" + secret},
		Entrypoint: []string{"/init", secret}, Healthcheck: &api.Healthcheck{Test: []string{"CMD", "check", secret}},
		Logging: &api.Logging{Driver: "gelf", Options: map[string]string{"token": secret}},
	}
	for _, want := range []api.ContainerSpec{
		{Logging: &api.Logging{Driver: "gelf", Options: map[string]string{"token": "x"}}},
		{
			Env: []string{"A=" + reference}, Command: []string{"run", "--password=" + reference},
			Entrypoint: []string{"/init", reference}, Healthcheck: &api.Healthcheck{Test: []string{"CMD", "check", reference}},
		},
	} {
		diffs := plan.Diff(have, plan.Effective(want, nil))
		if len(diffs) < 4 {
			t.Errorf("only %+v", diffs)
		}
		for _, diff := range diffs {
			if strings.Contains(diff.Have+diff.Want, secret) {
				t.Errorf("secret in %+v", diff)
			}
		}
	}
}

// TestEffectiveIsStable says that normal forms compare equal with themselves and that
// Effective changes nothing of what it is given.
func TestEffectiveIsStable(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b=1", "SYS_ADMIN", "label:disable", "80/tcp", "1-3", "x:10.0.0.1"}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		spec := api.ContainerSpec{
			Command: words.Draw(t, "command"), Entrypoint: words.Draw(t, "entrypoint"), Env: words.Draw(t, "env"),
			CapAdd: words.Draw(t, "caps"), SecurityOpt: words.Draw(t, "security"), Expose: words.Draw(t, "expose"),
			ExtraHosts: words.Draw(t, "hosts"), VolumesFrom: words.Draw(t, "volumesFrom"), Links: words.Draw(t, "links"),
			MacAddress: rapid.SampledFrom([]string{"", "02:AA:00:00:00:01"}).Draw(t, "mac"),
			Ports:      []api.Port{{Target: 9, Published: rapid.SampledFrom([]string{"", "0", "5-5", "5-6"}).Draw(t, "published")}, {Target: 1}},
			Endpoints:  []api.Endpoint{{Network: "n", Aliases: words.Draw(t, "aliases")}, {Network: "m"}},
			Resources:  api.Resources{Devices: []api.Device{{Source: "/dev/b"}, {Source: "/dev/a"}}, Ulimits: []api.Ulimit{{Name: "b"}, {Name: "a"}}},
		}
		before := spec.Hash()
		effective := plan.Effective(spec, nil)
		if spec.Hash() != before {
			t.Fatal("Effective changed its argument")
		}
		if diffs := plan.Diff(effective, effective); len(diffs) > 0 {
			t.Fatalf("differs from itself: %+v", diffs)
		}
		if diff := cmp.Diff(effective, plan.Effective(effective, nil), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("a second Effective changes it:\n%s", diff)
		}
		if diffs := plan.Diff(spec, effective); len(diffs) > 0 {
			for _, diff := range diffs {
				if diff.Path != "expose" && diff.Path != "networks.n.mac_address" && diff.Path != "mac_address" {
					t.Fatalf("the spec differs from its normal form: %+v", diff)
				}
			}
		}
	})
}
