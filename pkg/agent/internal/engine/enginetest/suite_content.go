package enginetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func contentChecks() []check {
	return []check{
		{"volume", checkVolume},
		{"named volume of a container", checkNamedVolume},
		{"anonymous volumes", checkAnonymous},
		{"exec", checkExec},
		{"files", checkFiles},
		{"environment", checkEnvironment},
		{"logs", checkLogs},
		{"image", checkImage},
		{"image defaults", checkDefaults},
		{"writable layer", checkMeasure},
		{"read back", checkReadBack},
	}
}

func checkVolume(t *testing.T, s *Subject) {
	ctx := t.Context()
	spec := api.VolumeSpec{Name: s.Prefix + "vol", Labels: map[string]string{"own": "yes"}}
	require(t, s.CreateVolume(ctx, spec, s.owner()))
	require(t, s.CreateVolume(ctx, spec, s.owner()))
	v, err := s.InspectVolume(ctx, spec.Name)
	require(t, err)
	equal(t, "name", v.Name, spec.Name)
	equal(t, "driver", v.Driver, "local")
	equal(t, "label", v.Labels["own"]+v.Labels[api.LabelStack], "yes"+s.Prefix+"stack")
	_, err = s.InspectVolume(ctx, s.Prefix+"nothing")
	requireError(t, err, engine.ErrNotFound, "")
}

func checkNamedVolume(t *testing.T, s *Subject) {
	r := s.request("db")
	r.Spec.Mounts = []api.Mount{{Type: api.MountVolume, Source: s.Prefix + "vol", Target: "/data"}}
	id := s.create(t, r)
	_, err := s.InspectVolume(t.Context(), s.Prefix+"vol")
	require(t, err)
	c := s.inspect(t, id)
	equal(t, "anonymous volumes", len(c.AnonymousVolumes), 0)
	if got := c.Spec.Mounts; len(got) != 1 || got[0].Source != s.Prefix+"vol" || got[0].Target != "/data" || got[0].Type != api.MountVolume {
		t.Errorf("mounts read back: %+v", got)
	}
}

func checkAnonymous(t *testing.T, s *Subject) {
	ctx := t.Context()
	r := s.request("old")
	r.Spec.Mounts = []api.Mount{{Type: api.MountVolume, Target: "/extra"}}
	old := s.run(t, r)
	volumes := s.inspect(t, old).AnonymousVolumes
	equal(t, "volume of the image", volumes["/data"] != "", true)
	equal(t, "volume of the service", volumes["/extra"] != "", true)
	equal(t, "mounts read back without them", len(s.inspect(t, old).Spec.Mounts), 0)
	_, err := s.Exec(ctx, engine.ExecRequest{ID: old, Command: []string{Prog, "touch", "/data/kept"}})
	require(t, err)

	r.Name, r.InheritVolumes = s.Prefix+"new", volumes
	successor := s.create(t, r)
	require(t, s.Remove(ctx, old))
	for path, name := range volumes {
		equal(t, "inherited volume at "+path, s.inspect(t, successor).AnonymousVolumes[path], name)
		_, err := s.InspectVolume(ctx, name)
		require(t, err)
	}
}

func checkExec(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.run(t, s.request("web"))
	result, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "print", "hello", "there"}})
	require(t, err)
	equal(t, "result", result, engine.ExecResult{Output: "hello there\n"})
	result, err = s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "exit", "4"}})
	require(t, err)
	equal(t, "exit code", result.ExitCode, 4)
	result, err = s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "print", strings.Repeat("x", 100)}, MaxOutput: 10})
	require(t, err)
	equal(t, "cut output", result.Output, strings.Repeat("x", 10))
	input := strings.Repeat("in\n", 100_000)
	result, err = s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "cat"}, Stdin: input, MaxOutput: len(input)})
	require(t, err)
	equal(t, "input", result.Output == input, true)
	result, err = s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "print", "x"}, Stdin: input})
	require(t, err)
	equal(t, "output of one that does not read", result.Output, "x\n")
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	_, err = s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "print"}})
	requireError(t, err, engine.ErrConflict, "")
}

func checkFiles(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.create(t, s.request("web"))
	require(t, s.CopyFiles(ctx, id, nil))
	require(t, s.CopyFiles(ctx, id, []api.File{{Target: "/etc/one", Content: "first"}, {Target: "/etc/two", Content: "second"}}))
	require(t, s.CopyFiles(ctx, id, []api.File{{Target: "/etc/one", Content: "replaced"}}))
	require(t, s.Start(ctx, id))
	for path, want := range map[string]string{"/etc/one": "replaced", "/etc/two": "second"} {
		result, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "cat", path}})
		require(t, err)
		equal(t, path, result.Output, want)
	}
	require(t, s.Restart(ctx, engine.StopRequest{ID: id}))
	result, err := s.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{Prog, "exists", "/etc/two"}})
	require(t, err)
	equal(t, "file after a restart", result.ExitCode, 0)
}

func checkEnvironment(t *testing.T, s *Subject) {
	r := s.request("web")
	r.Spec.Env = []string{"OWN=a=b", "EMPTY="}
	id := s.run(t, r)
	for name, want := range map[string]string{"OWN": "a=b\n", "EMPTY": "\n", "IMAGE_KEY": "image\n"} {
		result, err := s.Exec(t.Context(), engine.ExecRequest{ID: id, Command: []string{Prog, "getenv", name}})
		require(t, err)
		equal(t, name, result.Output, want)
	}
	r = s.request("less")
	r.Spec.Env = []string{"IMAGE_KEY"}
	id = s.run(t, r)
	result, err := s.Exec(t.Context(), engine.ExecRequest{ID: id, Command: []string{Prog, "getenv", "IMAGE_KEY"}})
	require(t, err)
	equal(t, "exit code for a variable taken away", result.ExitCode, 1)
}

func checkLogs(t *testing.T, s *Subject) {
	id := s.run(t, s.request("web", "print", "to the log"))
	eventually(t, "a line of the log", func() bool {
		text, err := s.Logs(t.Context(), id, 10)
		require(t, err)
		return text == "to the log\n"
	})
}

func checkImage(t *testing.T, s *Subject) {
	ctx := t.Context()
	img, err := s.InspectImage(ctx, s.Image, "")
	require(t, err)
	equal(t, "is an id", strings.HasPrefix(img.ID, "sha256:"), true)
	equal(t, "missing", img.Missing, false)
	equal(t, "declares its volume", slices.Equal(img.Volumes, []string{"/data"}), true)
	equal(t, "entrypoint", slices.Equal(img.Config.Entrypoint, []string{Prog}), true)
	byID, err := s.InspectImage(ctx, img.ID, img.Platform)
	require(t, err)
	equal(t, "id by id", byID.ID, img.ID)
	_, err = s.InspectImage(ctx, s.Image, "plan9/mips")
	requireError(t, err, engine.ErrNotFound, "")
	_, err = s.InspectImage(ctx, s.Prefix+"nothing:1", "")
	requireError(t, err, engine.ErrNotFound, "")
	id := s.create(t, s.request("web"))
	equal(t, "image id of a container", s.inspect(t, id).ImageID, img.ID)
}

func checkDefaults(t *testing.T, s *Subject) {
	r := s.request("web")
	r.Spec.Command = nil
	r.Spec.Labels = map[string]string{"own": "spec", "both": "spec"}
	r.Labels = map[string]string{"both": "request"}
	c := s.inspect(t, s.create(t, r))
	equal(t, "command", slices.Equal(c.Spec.Command, []string{"serve"}), true)
	equal(t, "entrypoint", slices.Equal(c.Spec.Entrypoint, []string{Prog}), true)
	equal(t, "variable of the image", slices.Contains(c.Spec.Env, "IMAGE_KEY=image"), true)
	equal(t, "labels", c.Labels["from.image"]+c.Labels["own"]+c.Labels["both"], "yesspecrequest")
	equal(t, "network mode without networks", c.Spec.NetworkMode, "none")

	r = s.request("other")
	r.Spec.Entrypoint = []string{Prog, "print"}
	c = s.inspect(t, s.create(t, r))
	equal(t, "command of the image when the entrypoint is another", len(c.Spec.Command), 0)
}

func checkMeasure(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.create(t, s.request("web"))
	size, err := s.MeasureContainer(ctx, id)
	require(t, err)
	equal(t, "size at first", size, 0)
	require(t, s.CopyFiles(ctx, id, []api.File{{Target: "/etc/big", Content: strings.Repeat("x", 1<<20)}}))
	size, err = s.MeasureContainer(ctx, id)
	require(t, err)
	equal(t, "size with 1 MiB", size, 1<<20)
}

// checkReadBack compares what is read back with what the planner expects of an engine.
func checkReadBack(t *testing.T, s *Subject) {
	s.network(t, "a")
	s.network(t, "b")
	grace := 1500 * time.Millisecond
	r := s.request("web")
	r.Spec = api.ContainerSpec{
		Image: s.Image, Command: []string{"serve-until", "3"}, Env: []string{"B=2", "A=1", "IMAGE_KEY"},
		Labels: map[string]string{"own": "yes"}, User: "1000:1000", WorkingDir: "/tmp/", Hostname: "host",
		StopSignal: "SIGINT", StopGrace: &grace, Expose: []string{"81/tcp"},
		Healthcheck: &api.Healthcheck{Test: []string{"CMD", Prog, "print"}, Interval: time.Minute, Retries: 4},
		Ports:       []api.Port{{HostIP: "127.0.0.1", Published: s.Port, Target: 80, Protocol: "tcp"}},
		Restart:     api.RestartPolicy{Name: "unless-stopped"},
		Endpoints:   []api.Endpoint{s.endpoint("b", "web", "other"), s.endpoint("a", "web")},
		ExtraHosts:  []string{"somewhere:10.1.2.3"}, DNS: []string{"10.1.2.4"},
		Mounts: []api.Mount{
			{Type: api.MountVolume, Source: s.Prefix + "vol", Target: "/vol"},
			{Type: api.MountVolume, Target: "/anonymous"},
		},
		Tmpfs:  map[string]string{"/run": "size=1m,mode=1777"},
		CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"CHOWN"}, ReadOnly: true,
		Resources: api.Resources{Memory: 64 << 20, NanoCPUs: 500_000_000},
	}
	img, err := s.InspectImage(t.Context(), s.Image, "")
	require(t, err)
	id := s.create(t, r)
	want := plan.Effective(r.Spec, img)
	if diff := plan.Diff(s.inspect(t, id).Spec, want); len(diff) > 0 {
		t.Errorf("spec read back differs:\n%s", cmp.Diff([]plan.FieldDiff(nil), diff))
	}
	require(t, s.Start(t.Context(), id))
	if diff := plan.Diff(s.inspect(t, id).Spec, want); len(diff) > 0 {
		t.Errorf("spec read back of what runs differs:\n%s", cmp.Diff([]plan.FieldDiff(nil), diff))
	}
	r.Spec.Env = []string{"A=changed"}
	if diff := plan.Diff(s.inspect(t, id).Spec, plan.Effective(r.Spec, img)); len(diff) == 0 {
		t.Error("a changed environment does not show")
	}
}
