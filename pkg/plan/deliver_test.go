package plan_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

var pw = api.Placeholder("op://v/i/pw")

// TestDelivered: program and healthcheck are those that the engine would run, behind
// ktrdr-exec. Source of the merge: moby daemon/commit.go, daemon/health.go.
func TestDelivered(t *testing.T) {
	image := &api.Image{Config: api.ContainerSpec{
		Entrypoint: []string{"/init"}, Command: []string{"serve"},
		Healthcheck: &api.Healthcheck{Test: []string{"CMD-SHELL", "pg_isready"}, Retries: 7},
	}}
	for name, c := range map[string]struct {
		spec                api.ContainerSpec
		image               *api.Image
		entrypoint, command []string
		test                []string
	}{
		"all of the image": {
			image: image, entrypoint: []string{"/init"}, command: []string{"serve"}, test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/sh", "-c", "pg_isready"},
		},
		"command": {
			spec: api.ContainerSpec{Command: []string{"x"}}, image: image,
			entrypoint: []string{"/init"}, command: []string{"x"}, test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/sh", "-c", "pg_isready"},
		},
		"entrypoint takes the image's command away": {
			spec: api.ContainerSpec{Entrypoint: []string{"/mine"}}, image: image,
			entrypoint: []string{"/mine"}, test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/sh", "-c", "pg_isready"},
		},
		"entrypoint of nothing": {
			spec: api.ContainerSpec{Entrypoint: []string{""}, Command: []string{"x"}}, image: image,
			command: []string{"x"}, test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/sh", "-c", "pg_isready"},
		},
		"empty entrypoint leaves the command": {
			spec: api.ContainerSpec{Entrypoint: []string{}}, image: image,
			command: []string{"serve"}, test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/sh", "-c", "pg_isready"},
		},
		"own check": {
			spec:  api.ContainerSpec{Command: []string{"x"}, Healthcheck: &api.Healthcheck{Test: []string{"CMD", "check", pw}}},
			image: &api.Image{}, command: []string{"x"}, test: []string{"CMD", "/.ktrdr/exec", "--", "check", pw},
		},
		"shell of the image": {
			spec:  api.ContainerSpec{Command: []string{"x"}, Healthcheck: &api.Healthcheck{Test: []string{"CMD-SHELL", "check"}}},
			image: &api.Image{Shell: []string{"/bin/bash", "-euc"}}, command: []string{"x"},
			test: []string{"CMD", "/.ktrdr/exec", "--", "/bin/bash", "-euc", "check"},
		},
		"no check": {
			spec: api.ContainerSpec{Healthcheck: &api.Healthcheck{Test: []string{"NONE"}}}, image: image,
			entrypoint: []string{"/init"}, command: []string{"serve"}, test: []string{"NONE"},
		},
		"image unknown": {spec: api.ContainerSpec{Command: []string{"x"}}, command: []string{"x"}},
	} {
		got := plan.Delivered(c.spec, c.image, plan.Binds{Exec: "/e", Values: "/v"})
		if diff := cmp.Diff(plan.ThroughExec(c.entrypoint), got.Entrypoint); diff != "" {
			t.Errorf("%s: entrypoint: %s", name, diff)
		}
		if !slices.Equal(c.command, got.Command) {
			t.Errorf("%s: command %q", name, got.Command)
		}
		var test []string
		if got.Healthcheck != nil {
			test = got.Healthcheck.Test
		}
		if !slices.Equal(c.test, test) {
			t.Errorf("%s: test %q", name, test)
		}
	}
	if got := plan.Delivered(api.ContainerSpec{}, image, plan.Binds{Exec: "/e", Values: "/v"}); got.Healthcheck.Retries != 7 {
		t.Error("the interval of the image's healthcheck is lost")
	}
}

// TestDeliveredMounts: read-only binds by the Mounts API, which makes no missing source.
func TestDeliveredMounts(t *testing.T) {
	spec := api.ContainerSpec{
		Env: []string{"A=" + pw}, Mounts: []api.Mount{{Type: api.MountVolume, Source: "data", Target: "/data"}},
		Files: []api.File{{Target: "/run/secrets/a", Content: pw}, {Target: "/b", Content: "plain"}, {Target: "/c", Content: "x" + pw}},
	}
	bind := func(source, target string) api.Mount {
		return api.Mount{Type: api.MountBind, Source: source, Target: target, ReadOnly: true, Long: true}
	}
	got := plan.Delivered(spec, nil, plan.Binds{Exec: "/e", Values: "/v", Files: []string{"/f0", "/f1"}})
	want := []api.Mount{spec.Mounts[0], bind("/e", api.ExecTarget), bind("/v", api.SecretsTarget), bind("/f0", "/run/secrets/a"), bind("/f1", "/c")}
	if diff := cmp.Diff(want, got.Mounts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]api.File{spec.Files[1]}, got.Files); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]api.Ulimit{{Name: "core"}}, got.Resources.Ulimits); diff != "" {
		t.Error(diff)
	}
	if len(spec.Mounts) != 1 || len(spec.Files) != 3 {
		t.Error("the wanted spec was changed")
	}
	spec.Resources.Ulimits = []api.Ulimit{{Name: "core", Soft: -1, Hard: -1}}
	if got := plan.Delivered(spec, nil, plan.Binds{Files: []string{"/f0", "/f1"}}); got.Resources.Ulimits[0].Soft != -1 || got.Entrypoint != nil {
		t.Errorf("files alone: %+v", got)
	}
}

// TestDeliveredIsNoDrift: whatever the spec and the image, a container that was made from
// the delivered spec differs in nothing from the wanted one.
func TestDeliveredIsNoDrift(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "--", "/.ktrdr/exec", "sh", "-c", "x y"}), 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		program := func(label string) (spec api.ContainerSpec) {
			if rapid.Bool().Draw(t, label+" has an entrypoint") {
				spec.Entrypoint = words.Draw(t, label+" entrypoint")
			}
			if rapid.Bool().Draw(t, label+" has a command") {
				spec.Command = words.Draw(t, label+" command")
			}
			if rapid.Bool().Draw(t, label+" has a check") {
				kind := rapid.SampledFrom([]string{"CMD", "CMD-SHELL", "NONE"}).Draw(t, label+" kind")
				spec.Healthcheck = &api.Healthcheck{Test: []string{kind, "x"}, Retries: 2}
			}
			return spec
		}
		spec, image := program("spec"), &api.Image{Config: program("image")}
		spec.Image = "img:1"
		spec.Env = []string{"A=" + pw}
		for i := range rapid.IntRange(0, 2).Draw(t, "files") {
			spec.Files = append(spec.Files, api.File{Target: fmt.Sprintf("/f%d", i), Content: pw})
		}
		made := plan.Delivered(spec, image, plan.Binds{Exec: "/e", Values: "/v", Files: []string{"/0", "/1"}[:len(spec.Files)]})
		have := plan.Effective(made, image)
		have.Files = nil // no engine reports them
		if diff := plan.Diff(have, plan.Effective(spec, image)); len(diff) > 0 {
			t.Fatalf("spec %q %q, image %q %q: %v", spec.Entrypoint, spec.Command, image.Config.Entrypoint, image.Config.Command, diff)
		}
	})
}

// TestHashNeedsNoDelivery: containers without secrets keep the hash that earlier versions
// gave them, whatever the delivery.
func TestHashNeedsNoDelivery(t *testing.T) {
	spec := api.ContainerSpec{Image: "img:1", Env: []string{"A=b"}, Restart: api.RestartPolicy{Name: "always"}}
	const before = "v1:53fd25e189de"
	if got := spec.Hash(); got[:len(before)] != before {
		t.Errorf("hash %s", got)
	}
	svc, rep := &api.Service{}, &api.Replica{Spec: spec}
	for _, mode := range []string{"", api.DeliveryEnv} {
		if got := plan.DeliveryOf(&api.Stack{Delivery: mode}, svc, rep); got != "" {
			t.Errorf("delivery %q of a container without secrets", got)
		}
	}
}

// TestHooksUseFolders: a hook's secret is delivered too, and does not replace the container.
func TestHooksUseFolders(t *testing.T) {
	svc := &api.Service{PostStart: []api.Hook{{Command: []string{"x"}, Env: []string{"A=" + pw}}}}
	rep := &api.Replica{}
	if !plan.UsesFolder(&api.Stack{}, svc, rep) || !slices.Equal(plan.ValueRefs(svc, rep), []string{"op://v/i/pw"}) {
		t.Error("the hook's secret is not delivered")
	}
	one := plan.FolderDigest(svc, rep, map[string]string{"op://v/i/pw": "1"})
	if two := plan.FolderDigest(svc, rep, map[string]string{"op://v/i/pw": "2"}); one == two || plan.SecretDigest(svc, rep, nil) != "" {
		t.Error("digest of the folder")
	}
}
