package sim_test

import (
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// service makes a service of one replica that runs until it is stopped.
func service(name string, change func(*api.Service, *api.ContainerSpec)) api.Service {
	svc := api.Service{Name: name}
	spec := api.ContainerSpec{
		Image: "img:1", Restart: api.RestartPolicy{Name: "unless-stopped"},
		Endpoints: []api.Endpoint{{Network: "p_default", Aliases: []string{name}}},
	}
	if change != nil {
		change(&svc, &spec)
	}
	rep := api.Replica{Number: 1, Name: "p-" + name + "-1", Spec: spec, SpecHash: spec.Hash()}
	rep.SecretRefs = api.References(strings.Join(spec.Env, " "))
	svc.Replicas = []api.Replica{rep}
	return svc
}

func desired(revision string, services ...api.Service) *api.Desired {
	return &api.Desired{Revision: revision, Node: "a", Stacks: []api.Stack{{
		Name: "s", Project: "p", Services: services,
		Networks: []api.NetworkSpec{{Key: "default", Name: "p_default", Driver: "bridge"}},
		Volumes:  []api.VolumeSpec{{Key: "data", Name: "p_data"}},
	}}}
}

// chain is a small world with all kinds of order: a database with a volume and a
// healthcheck, a migration job, an api, a web server that shares its network, and a
// worker that stops when the api is replaced.
func chain(revision, image, marker string) *api.Desired {
	mark := func(s *api.ContainerSpec) { s.Image, s.Env = image, []string{"MARK=" + marker} }
	return desired(revision,
		service("api", func(svc *api.Service, s *api.ContainerSpec) {
			mark(s)
			s.Env = append(s.Env, "URL=db://"+api.Placeholder(secretRef)+"@db")
			s.Command = []string{"serve"}
			s.Files = []api.File{{Target: "/run/secrets/x", Content: api.Placeholder(secretRef)}, {Target: "/plain", Content: "y"}}
			svc.DependsOn = []api.Dependency{
				{Service: "db", Condition: api.ServiceHealthy, Required: true},
				{Service: "migrate", Condition: api.ServiceCompleted, Required: true},
			}
		}),
		service("db", func(svc *api.Service, s *api.ContainerSpec) {
			svc.OwnHealthcheck = true
			s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: 10e9, Retries: 3}
			s.Mounts = []api.Mount{{Type: api.MountVolume, Source: "p_data", Target: "/data"}}
		}),
		service("migrate", func(svc *api.Service, s *api.ContainerSpec) {
			mark(s)
			svc.Job, s.Restart, s.Command = true, api.RestartPolicy{}, []string{"exit", "0"}
			svc.DependsOn = []api.Dependency{{Service: "db", Condition: api.ServiceHealthy, Required: true}}
		}),
		service("side", func(svc *api.Service, s *api.ContainerSpec) {
			s.Endpoints, s.NetworkMode = nil, "service:api"
			svc.DependsOn = []api.Dependency{{Service: "api", Condition: api.ServiceStarted, Required: true, Restart: true}}
		}),
		service("worker", func(svc *api.Service, s *api.ContainerSpec) {
			mark(s)
			svc.DependsOn = []api.Dependency{{Service: "api", Condition: api.ServiceStarted, Required: true, Restart: true}}
		}),
	)
}

// verify compares the engine's truth with the desired state: one container of the wanted
// spec for each replica, running (or ended well, for a job), and nothing else of ours.
func (n *node) verify(d *api.Desired) error {
	want := map[string]api.Replica{}
	jobs := map[string]bool{}
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				want[r.Name] = r
				jobs[r.Name] = svc.Job
			}
		}
	}
	truth := n.fake.Truth()
	for _, c := range truth.Containers {
		if c.Labels[api.LabelStack] == "" {
			continue
		}
		r, ok := want[c.Name]
		if !ok {
			return fmt.Errorf("container %s is not wanted: %s", c.Name, c.Labels[api.LabelService])
		}
		if c.Labels[api.LabelSpecHash] != r.SpecHash {
			return fmt.Errorf("container %s has another spec than wanted", c.Name)
		}
		up := c.State == api.StateRunning
		if jobs[c.Name] {
			up = c.State == api.StateExited && c.ExitCode == 0 && !c.StartedAt.IsZero()
		}
		if !up {
			return fmt.Errorf("container %s is %s (exit code %d)", c.Name, c.State, c.ExitCode)
		}
		delete(want, c.Name)
	}
	for name, r := range want {
		if jobs[name] && n.memory.ended(name, r.SpecHash) {
			continue // it ended well; its container may be gone
		}
		return fmt.Errorf("container %s is missing", name)
	}
	if err := n.verifyDelivery(d, n.vault.value); err != nil {
		return err
	}
	return n.verifyNetworks(truth)
}

func (n *node) verifyNetworks(truth engine.List) error {
	ids := map[string]bool{}
	count := 0
	for _, net := range truth.Networks {
		ids[net.ID] = true
		if net.Name == "p_default" {
			count++
		}
	}
	if count > 1 {
		return fmt.Errorf("network p_default exists %d times", count)
	}
	for _, c := range truth.Containers {
		for id := range c.Attached {
			if !ids[id] && c.State == api.StateRunning {
				return fmt.Errorf("container %s is attached to network %s, which is gone", c.Name, id)
			}
		}
	}
	return nil
}

// foreignRequest is a container of the same project that Compose made elsewhere.
func foreignRequest() engine.CreateRequest {
	return engine.CreateRequest{
		Name: "somebody", Spec: api.ContainerSpec{Image: "img:1"},
		Labels: map[string]string{api.LabelProject: "p", api.LabelService: "api", api.LabelNumber: "1", api.LabelWorkingDir: "/elsewhere"},
	}
}
