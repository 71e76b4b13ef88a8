package engine_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// readbackCase is a spec that has to come back from the engine with the same effect. It
// may refer to a network and a volume that the test makes.
type readbackCase struct {
	name  string
	spec  func(network, second, volume, folder string) api.ContainerSpec
	start bool
}

func plain(spec api.ContainerSpec) func(string, string, string, string) api.ContainerSpec {
	return func(string, string, string, string) api.ContainerSpec { return spec }
}

func readbackCases() []readbackCase {
	return append([]readbackCase{
		{name: "nothing but an image", spec: plain(api.ContainerSpec{}), start: true},
		{name: "host network", spec: plain(api.ContainerSpec{NetworkMode: "host"}), start: true},
		{name: "bridge", spec: plain(api.ContainerSpec{NetworkMode: "bridge"}), start: true},
		{name: "program", spec: plain(api.ContainerSpec{
			Command: []string{"serve", "a b"}, Entrypoint: []string{"/box"}, User: "12:34", WorkingDir: "/tmp/",
			Env:      []string{"A=1", "IMAGE_KEY", "SHARED=own", "EMPTY="},
			Labels:   map[string]string{"mine": "1", "from.image": "no"},
			Hostname: "host-a", Domainname: "example.org", TTY: true, StdinOpen: true,
			StopSignal: "sigint", StopGrace: new(1500 * time.Millisecond),
		}), start: true},
		{name: "entrypoint clears the command", spec: plain(api.ContainerSpec{Entrypoint: []string{"/box", "serve"}}), start: true},
		{name: "empty command", spec: plain(api.ContainerSpec{Command: []string{}})},
		{name: "entrypoint of one empty word", spec: plain(api.ContainerSpec{Entrypoint: []string{""}, Command: []string{"/box", "serve"}})},
		{name: "grace of ten seconds", spec: plain(api.ContainerSpec{StopGrace: new(10 * time.Second)})},
		{name: "healthcheck in part", spec: plain(api.ContainerSpec{Healthcheck: &api.Healthcheck{Interval: 5 * time.Second}}), start: true},
		{name: "healthcheck whole", spec: plain(api.ContainerSpec{Healthcheck: &api.Healthcheck{
			Test: []string{"CMD-SHELL", "true"}, Interval: time.Minute, Timeout: 3 * time.Second, StartPeriod: time.Second, Retries: 2,
		}})},
		{name: "healthcheck off", spec: plain(api.ContainerSpec{Healthcheck: &api.Healthcheck{Test: []string{"NONE"}}}), start: true},
		{name: "ports", spec: plain(api.ContainerSpec{
			NetworkMode: "bridge", Expose: []string{"7000-7002", "53/udp"},
			Ports: []api.Port{
				{Target: 80, Protocol: "tcp"},
				{Target: 81, Published: "0", Protocol: "tcp", HostIP: "127.0.0.1"},
				{Target: 82, Published: "21100-21110", Protocol: "tcp"},
				{Target: 82, Published: "21150", Protocol: "udp", HostIP: "127.0.0.1"},
			},
		}), start: true},
		{name: "restart always", spec: plain(api.ContainerSpec{Restart: api.RestartPolicy{Name: "always"}}), start: true},
		{name: "restart on failure", spec: plain(api.ContainerSpec{Restart: api.RestartPolicy{Name: "on-failure", MaxRetries: 3}})},
		{name: "restart no", spec: plain(api.ContainerSpec{Restart: api.RestartPolicy{Name: "no"}})},
		{name: "names", spec: plain(api.ContainerSpec{
			NetworkMode: "bridge", DNS: []string{"9.9.9.9", "1.1.1.1"}, DNSOptions: []string{"ndots:2"}, DNSSearch: []string{"b.org", "a.org"},
			ExtraHosts: []string{"z:10.0.0.1", "a:10.0.0.2", "gw:host-gateway"},
		}), start: true},
		{name: "networks", spec: func(network, second, _, _ string) api.ContainerSpec {
			return api.ContainerSpec{Endpoints: []api.Endpoint{
				{Network: second, Aliases: []string{"svc", "svc-1"}, IPv4Address: "10.231.7.77"},
				{Network: network, Aliases: []string{"svc"}, LinkLocalIPs: []string{"169.254.8.8"}},
			}}
		}, start: true},
		{name: "mac address", spec: func(_, second, _, _ string) api.ContainerSpec {
			return api.ContainerSpec{MacAddress: "02:AB:00:00:00:07", Endpoints: []api.Endpoint{{Network: second}}}
		}, start: true},
		{name: "mac address of the endpoint", spec: func(_, second, _, _ string) api.ContainerSpec {
			return api.ContainerSpec{Endpoints: []api.Endpoint{{Network: second, MacAddress: "02:ab:00:00:00:08"}}}
		}, start: true},
		{name: "mounts", spec: func(_, _, volume, folder string) api.ContainerSpec {
			return api.ContainerSpec{
				Mounts: []api.Mount{
					{Type: api.MountBind, Source: folder + "/made/by/engine", Target: "/a", CreateHostPath: true},
					{Type: api.MountBind, Source: folder, Target: "/b/", ReadOnly: true},
					{Type: api.MountBind, Source: folder, Target: "/c", CreateHostPath: true, ReadOnly: true, SELinux: "z"},
					{Type: api.MountBind, Source: folder, Target: "/d", CreateHostPath: true, Propagation: "private"},
					{Type: api.MountBind, Source: folder, Target: "/d2", Propagation: "rprivate", Recursive: "disabled", Long: true},
					{Type: api.MountVolume, Source: volume, Target: "/e"},
					{Type: api.MountVolume, Source: volume, Target: "/f", ReadOnly: true, NoCopy: true, Long: true},
					{Type: api.MountVolume, Target: "/g"},
					{Type: api.MountTmpfs, Target: "/h", TmpfsSize: 1 << 20, TmpfsMode: 0o1770, Long: true},
				},
				Tmpfs: map[string]string{"/i": "size=64k,mode=700", "/j": ""},
			}
		}, start: true},
	}, hostReadbackCases()...)
}

func hostReadbackCases() []readbackCase {
	return []readbackCase{
		{name: "security", spec: plain(api.ContainerSpec{
			CapAdd: []string{"net_admin", "CAP_SYS_TIME"}, CapDrop: []string{"all"}, GroupAdd: []string{"44", "7"},
			SecurityOpt: []string{"no-new-privileges:true", "apparmor:unconfined", "label:user:u"}, ReadOnly: true, UnmaskedPaths: true,
			Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"},
		})},
		{name: "privileged", spec: plain(api.ContainerSpec{Privileged: true})},
		{name: "namespaces of the host", spec: plain(api.ContainerSpec{
			NetworkMode: "host", IpcMode: "host", PidMode: "host", UTSMode: "host", UsernsMode: "host", CgroupnsMode: "host",
		}), start: true},
		{name: "shareable", spec: plain(api.ContainerSpec{IpcMode: "shareable", CgroupnsMode: "private", Init: new(true), ShmSize: 64 << 20})},
		{name: "no init", spec: plain(api.ContainerSpec{Init: new(false), ShmSize: 1 << 20, Runtime: "runc"}), start: true},
		{name: "limits", spec: plain(api.ContainerSpec{Resources: api.Resources{
			NanoCPUs: 250_000_000, CPUShares: 512, CpusetCpus: "0", Memory: 64 << 20, MemoryReservation: 32 << 20, PidsLimit: new(int64(50)),
			Ulimits: []api.Ulimit{{Name: "nproc", Soft: 500, Hard: 600}, {Name: "core", Soft: 0, Hard: 0}},
			Devices: []api.Device{{Source: "/dev/null", Target: "/dev/zero2"}, {Source: "/dev/zero", Target: "/dev/alpha", Permissions: "r"}},
		}, OomScoreAdj: 100}), start: true},
		{name: "swap", spec: plain(api.ContainerSpec{Resources: api.Resources{Memory: 64 << 20, MemorySwap: 64 << 20, MemorySwappiness: new(int64(10))}})},
		{name: "cpu quota", spec: plain(api.ContainerSpec{Resources: api.Resources{CPUPeriod: 50_000, CPUQuota: 25_000, PidsLimit: new(int64(-1))}}), start: true},
		{name: "oom", spec: plain(api.ContainerSpec{OomKillDisable: true, Resources: api.Resources{Memory: 64 << 20}})},
		{name: "block I/O", spec: plain(api.ContainerSpec{Resources: api.Resources{Blkio: &api.Blkio{DeviceReadBps: []api.BlkioLimit{{Path: "/dev/null", Rate: 1 << 20}}}, DeviceCgroupRules: []string{"c 1:3 mr"}}})},
		{name: "gpu", spec: plain(api.ContainerSpec{Resources: api.Resources{DeviceRequests: []api.DeviceRequest{
			{Driver: "nvidia", Count: -1, Capabilities: [][]string{{"gpu"}}},
			{DeviceIDs: []string{"0"}, Capabilities: [][]string{{"gpu", "utility"}}, Options: map[string]string{"a": "b"}},
		}}})},
		{name: "logging", spec: plain(api.ContainerSpec{Logging: &api.Logging{Driver: "json-file", Options: map[string]string{"max-size": "1m", "max-file": "2"}}}), start: true},
		{name: "logging off", spec: plain(api.ContainerSpec{Logging: &api.Logging{Driver: "none"}})},
		{name: "logging options only", spec: plain(api.ContainerSpec{Logging: &api.Logging{Options: map[string]string{"max-size": "1m"}}})},
	}
}

// TestReadBack creates containers from a wide set of specs and expects that what the
// engine reports has the effect that Effective says.
func TestReadBack(t *testing.T) {
	c := realEngine(t)
	first, second, volume := name(t, "one"), name(t, "two"), name(t, "volume")
	createNetwork(t, c, api.NetworkSpec{Name: first})
	createNetwork(t, c, api.NetworkSpec{Name: second, IPAM: &api.IPAM{Config: []api.IPAMPool{{Subnet: "10.231.7.0/24"}}}})
	if err := c.CreateVolume(t.Context(), api.VolumeSpec{Name: volume}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { discardVolume(t, volume) })
	image, err := c.InspectImage(t.Context(), boxImage, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range readbackCases() {
		t.Run(tc.name, func(t *testing.T) {
			spec := tc.spec(first, second, volume, t.TempDir())
			spec.Image = boxImage
			if spec.NetworkMode == "" && len(spec.Endpoints) == 0 {
				spec.NetworkMode = "none"
			}
			id := create(t, c, engine.CreateRequest{Name: name(t, "c"), Spec: spec, Labels: map[string]string{api.LabelStack: "x", api.LabelProject: "y"}})
			if tc.start {
				if err := c.Start(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			want := plan.Effective(spec, image)
			compareSpec(t, c, id, want)
			if tc.start {
				if err := c.Stop(t.Context(), engine.StopRequest{ID: id, Grace: new(time.Duration(0))}); err != nil {
					t.Fatal(err)
				}
				compareSpec(t, c, id, want)
			}
		})
	}
}

func compareSpec(t *testing.T, c *engine.Client, id string, want api.ContainerSpec) {
	t.Helper()
	read := inspect(t, c, id)
	for _, diff := range plan.Diff(read.Spec, want) {
		t.Errorf("%s %s: have %q, want %q", read.State, diff.Path, diff.Have, diff.Want)
	}
	if t.Failed() {
		t.Logf("command %q %q, entrypoint %q %q", read.Spec.Command, want.Command, read.Spec.Entrypoint, want.Entrypoint)
	}
}

// TestReadBackOfTheCLI compares containers that docker's own client makes.
func TestReadBackOfTheCLI(t *testing.T) {
	c := realEngine(t)
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skipf("SKIPPED: no docker client: %v", err)
	}
	image, err := c.InspectImage(t.Context(), boxImage, "")
	if err != nil {
		t.Fatal(err)
	}
	network := name(t, "net")
	createNetwork(t, c, api.NetworkSpec{Name: network})
	for _, tc := range []struct {
		args string
		spec api.ContainerSpec
	}{
		{"", api.ContainerSpec{NetworkMode: "bridge"}},
		{"-d -e A=1 -p 127.0.0.1::80 --restart unless-stopped", api.ContainerSpec{
			NetworkMode: "bridge", Env: []string{"A=1"}, Restart: api.RestartPolicy{Name: "unless-stopped"},
			Ports: []api.Port{{HostIP: "127.0.0.1", Target: 80}},
		}},
		{"-d -v /tmp:/host:ro --tmpfs /x:size=1m --cap-add NET_ADMIN --security-opt apparmor=unconfined --init -m 64m", api.ContainerSpec{
			NetworkMode: "bridge", Mounts: []api.Mount{{Type: api.MountBind, Source: "/tmp", Target: "/host", ReadOnly: true}},
			Tmpfs: map[string]string{"/x": "size=1m"}, CapAdd: []string{"NET_ADMIN"}, SecurityOpt: []string{"apparmor:unconfined"},
			Init: new(true), Resources: api.Resources{Memory: 64 << 20},
		}},
		{"-d --network " + network + " --network-alias other --add-host a:1.2.3.4 --no-healthcheck --stop-timeout 3", api.ContainerSpec{
			Endpoints: []api.Endpoint{{Network: network, Aliases: []string{"other"}}}, ExtraHosts: []string{"a:1.2.3.4"},
			Healthcheck: &api.Healthcheck{Test: []string{"NONE"}}, StopGrace: new(3 * time.Second),
		}},
	} {
		t.Run(tc.args, func(t *testing.T) {
			verb := "create"
			args := strings.Fields(tc.args)
			if len(args) > 0 {
				verb = "run"
			}
			id := docker(t, append(append([]string{verb}, args...), boxImage)...)
			t.Cleanup(func() { discard(t, id) })
			tc.spec.Image = boxImage
			compareSpec(t, c, id, plan.Effective(tc.spec, image))
		})
	}
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, errText.String())
	}
	return strings.TrimSpace(string(out))
}
