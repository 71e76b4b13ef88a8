package enginetest_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/api"
)

func TestFakeConforms(t *testing.T) {
	enginetest.Run(t, func(t *testing.T, test func(*testing.T, *enginetest.Subject)) {
		synctest.Test(t, func(t *testing.T) {
			fake := enginetest.New(1)
			fake.AddImage("suite:1", api.Image{
				Config: api.ContainerSpec{
					Entrypoint: []string{enginetest.Prog}, Command: []string{"serve"},
					Env: []string{"IMAGE_KEY=image"}, Labels: map[string]string{"from.image": "yes"},
				},
				Volumes: []string{"/data"},
			})
			fake.RemovePath("/missing")
			test(t, &enginetest.Subject{
				Engine: fake, Person: person{fake.Hand()},
				Image: "suite:1", Prefix: "suite-", Subnet: "10.213.7.0/24", Port: "18080", MissingPath: "/missing",
			})
		})
	})
}

// person drives the fake by hand.
type person struct{ hand enginetest.Hand }

func (p person) Kill(_ context.Context, id string) error  { return p.hand.Kill(id) }
func (p person) Pause(_ context.Context, id string) error { return p.hand.Pause(id) }
func (p person) End(_ context.Context, id string) error   { return p.hand.End(id, 137) }

func TestDockerConforms(t *testing.T) {
	docker := enginetest.FindDocker(t)
	image := "ktrdr.test/enginetest-suite:1"
	docker.LoadImage(t, image)
	client, err := engine.New(engine.Config{Host: docker.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	checks := 0
	enginetest.Run(t, func(t *testing.T, test func(*testing.T, *enginetest.Subject)) {
		checks++
		prefix := fmt.Sprintf("enginetest-%d-%d-", os.Getpid(), checks)
		recorded := &recorder{Engine: client}
		t.Cleanup(func() { sweep(t, docker, recorded, prefix) })
		test(t, &enginetest.Subject{
			Engine: recorded, Person: operator{docker, client},
			Image: image, Prefix: prefix, Subnet: "10.213.7.0/24", Port: "18713", MissingPath: "/nonexistent/enginetest",
		})
	})
}

// operator is a person at the real engine.
type operator struct {
	*enginetest.Docker
	client *engine.Client
}

func (o operator) End(ctx context.Context, id string) error {
	c, err := o.client.InspectContainer(ctx, id)
	if err != nil {
		return err
	}
	return unix.Kill(c.Pid, unix.SIGKILL)
}

// recorder remembers the anonymous volumes of containers: removing these leaves them.
type recorder struct {
	enginetest.Engine
	volumes []string
}

func (r *recorder) Create(ctx context.Context, req engine.CreateRequest) (string, error) {
	id, err := r.Engine.Create(ctx, req)
	if err != nil {
		return id, err
	}
	c, err := r.InspectContainer(ctx, id)
	if err != nil {
		return id, err
	}
	r.volumes = slices.AppendSeq(r.volumes, maps.Values(c.AnonymousVolumes))
	return id, nil
}

// sweep removes all that a check made.
func sweep(t *testing.T, docker *enginetest.Docker, r *recorder, prefix string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	list, err := r.List(ctx)
	if err != nil {
		t.Fatalf("clean up: %v", err)
	}
	check := func(err error) {
		if err != nil && !strings.Contains(err.Error(), "404") {
			t.Errorf("clean up: %v", err)
		}
	}
	for _, c := range list.Containers {
		if strings.HasPrefix(c.Name, prefix) {
			check(docker.RemoveContainer(ctx, c.ID))
		}
	}
	for _, n := range list.Networks {
		if strings.HasPrefix(n.Name, prefix) {
			check(docker.RemoveNetwork(ctx, n.ID))
		}
	}
	volumes := r.volumes
	for _, v := range list.Volumes {
		if strings.HasPrefix(v.Name, prefix) {
			volumes = append(volumes, v.Name)
		}
	}
	for _, name := range volumes {
		check(docker.RemoveVolume(ctx, name))
	}
}
