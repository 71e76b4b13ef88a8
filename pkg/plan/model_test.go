package plan_test

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// model is a tiny engine in pure code: it does to an Observed what an operation says.
type model struct {
	obs  *api.Observed
	now  time.Time
	next int
	// unhealthyImages never become healthy; badImages can't be pulled.
	badImages map[string]bool
	// crashing images end right after each start; moved are the ids of tags that moved.
	crashing map[string]bool
	moved    map[string]string
	// watch looks at the engine before each operation.
	watch func(*plan.Plan) error
	log   []string
}

func newModel() *model {
	return &model{now: start, badImages: map[string]bool{}, crashing: map[string]bool{}, moved: map[string]string{}, obs: &api.Observed{
		Complete: true, Containers: map[string]*api.Container{}, Networks: map[string]*api.Network{},
		Volumes: map[string]*api.Volume{}, Images: map[string]*api.Image{}, Mounts: map[string]api.MountState{},
		Failures: map[string]api.Failure{}, Jobs: map[string]string{}, Holds: map[string]api.Hold{}, Rollouts: map[string]*api.Rollout{},
	}}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *model) id(prefix string) string {
	m.next++
	return fmt.Sprintf("%s%060d", prefix, m.next)
}

func (m *model) build(stack *api.Stack) *plan.Plan {
	return plan.Build(plan.Input{
		Node: "a", Revision: "r1", Stack: stack, Observed: m.obs, Now: m.now,
		Secrets: map[string]string{"op://v/i/f": "v1:digest"},
	})
}

// run applies ready operations until none is left, and returns the last plan.
func (m *model) run(stack *api.Stack) (*plan.Plan, error) {
	for range 500 {
		p := m.build(stack)
		if m.watch != nil {
			if err := m.watch(p); err != nil {
				return p, err
			}
		}
		ready := p.Ready(m.now)
		inForce := stack
		if p.Back != nil {
			inForce = &p.Back.Stacks[0]
		}
		if len(ready) == 0 && m.endJobs(inForce) {
			continue
		}
		if len(ready) == 0 {
			if p.WakeAt.IsZero() || len(p.Ops) == 0 && p.Status.Converged {
				return p, nil
			}
			m.now = p.WakeAt
			continue
		}
		m.now = m.now.Add(time.Second)
		for _, op := range ready[:1] {
			m.log = append(m.log, op.String())
			if err := m.apply(stack, op); err != nil {
				return p, fmt.Errorf("%s: %w\n%s", op.Key, err, p)
			}
		}
	}
	return nil, fmt.Errorf("no end after 500 operations; the last ones:\n%s", strings.Join(m.log[len(m.log)-12:], "\n"))
}

// endJobs lets jobs that run come to their end: a service may become a job while its
// container runs.
func (m *model) endJobs(stack *api.Stack) bool {
	ended := false
	for id, old := range m.obs.Containers {
		svc := stack.Service(old.Labels[api.LabelService])
		if old.Labels[api.LabelStack] != stack.Name || svc == nil || !svc.Job || old.State != api.StateRunning {
			continue
		}
		c := *old
		c.State, c.ExitCode, c.FinishedAt, c.Facts.Interrupted = api.StateExited, 0, m.now, false
		m.obs.Containers[id], ended = &c, true
	}
	return ended
}

func (m *model) apply(stack *api.Stack, op plan.Op) error {
	c := m.obs.Containers[op.ID]
	// Change does the others.
	//exhaustive:ignore
	switch op.Kind {
	case plan.Resolve, plan.Pull:
		if m.badImages[op.Object] && op.Kind == plan.Pull {
			m.obs.Failures[op.Key] = api.Failure{Count: 1, Class: api.Terminal, Revision: "r1", Reason: api.ReasonImageMissing, Message: "no such tag"}
			return nil
		}
		m.obs.Images[op.Object] = &api.Image{ID: m.imageID(op.Object), PulledFor: "r1", PulledAt: m.now, Missing: m.badImages[op.Object]}
	case plan.CreateNetwork:
		id := m.id("net")
		m.obs.Networks[id] = &api.Network{ID: id, Name: op.Network.Name, Spec: *op.Network, Labels: m.labels(stack, op.Network.Hash())}
	case plan.RemoveNetwork:
		for _, o := range m.obs.Containers {
			if _, ok := o.Attached[op.ID]; ok {
				return fmt.Errorf("network %s has active endpoints: %s", op.Object, o.Name)
			}
		}
		delete(m.obs.Networks, op.ID)
	case plan.CreateVolume:
		m.obs.Volumes[op.Volume.Name] = &api.Volume{Name: op.Volume.Name, Labels: m.labels(stack, op.Volume.Hash())}
	case plan.Create:
		return m.create(stack, op)
	case plan.Remove:
		if isUp(c) {
			return fmt.Errorf("remove of %s, which runs", op.Object)
		}
		delete(m.obs.Containers, op.ID)
	case plan.RecordJob:
		m.obs.Jobs[op.ID] = op.SpecHash
	case plan.RecordGood, plan.QuarantineRevision, plan.LiftQuarantine:
		m.remember(stack, op)
	default:
		return m.change(c, op)
	}
	return nil
}

// remember does what apply does with the memory of a rollout.
func (m *model) remember(stack *api.Stack, op plan.Op) {
	memory := *op.Memory
	if op.Kind == plan.RecordGood {
		good := *memory.Good
		good.Desired = &api.Desired{Revision: "r1", Node: "a", Stacks: []api.Stack{*stack}}
		memory.Good = &good
	}
	m.obs.Rollouts[stack.Name] = &memory
}

func (m *model) imageID(ref string) string {
	if strings.HasPrefix(ref, "sha256:") {
		return ref
	}
	return cmp.Or(m.moved[ref], "sha256:"+ref)
}

func isUp(c *api.Container) bool {
	return c.State == api.StateRunning || c.State == api.StatePaused || c.State == api.StateRestarting
}

func (m *model) labels(stack *api.Stack, hash string) map[string]string {
	return map[string]string{api.LabelStack: stack.Name, api.LabelProject: stack.Project, api.LabelSpecHash: hash, api.LabelNode: "a"}
}

func (m *model) create(stack *api.Stack, op plan.Op) error {
	for _, o := range m.obs.Containers {
		if o.Name == op.NewName {
			return fmt.Errorf("name %s is taken", op.NewName)
		}
	}
	id := m.id("c")
	labels := m.labels(stack, op.Replica.SpecHash)
	maps.Copy(labels, map[string]string{api.LabelService: op.Service, api.LabelNumber: strconv.Itoa(op.Replica.Number)})
	if d := plan.SecretDigest(op.Wanted, op.Replica, op.Secrets); d != "" {
		labels[api.LabelSecretDigest] = d
	}
	c := &api.Container{
		ID: id, Name: op.NewName, Created: m.now, Labels: labels, Image: op.Replica.Spec.Image,
		ImageID: cmp.Or(op.Image, m.imageID(op.Replica.Spec.Image)), State: api.StateCreated, Spec: op.Replica.Spec, Attached: map[string]api.Attachment{},
		Facts: api.ContainerFacts{WritableBytes: -1},
	}
	if name, ok := strings.CutPrefix(op.Replica.Spec.NetworkMode, "service:"); ok {
		if op.Parents[name] == "" {
			return fmt.Errorf("parent %s of %s is not known", name, op.Object)
		}
		c.Spec.NetworkMode = "container:" + op.Parents[name]
	}
	c.Spec = plan.Effective(c.Spec, m.obs.Images[op.Replica.Spec.Image])
	for _, ep := range op.Replica.Spec.Endpoints {
		n := m.network(ep.Network)
		if n == nil {
			return fmt.Errorf("network %s does not exist", ep.Network)
		}
		c.Attached[n.ID] = attachment(ep)
	}
	m.obs.Containers[id] = c
	return nil
}

func attachment(ep api.Endpoint) api.Attachment {
	return api.Attachment{Name: ep.Network, Aliases: ep.Aliases, IPv4: ep.IPv4Address, IPv6: ep.IPv6Address}
}

func (m *model) network(name string) *api.Network {
	for _, n := range m.obs.Networks {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// change applies an operation on an existing container. Containers are copied: a
// snapshot that a plan was built from must not change under it.
func (m *model) change(old *api.Container, op plan.Op) error {
	if old == nil {
		return fmt.Errorf("container %s (%q) does not exist", op.Object, op.ID)
	}
	c := *old
	c.Attached = maps.Clone(old.Attached)
	m.obs.Containers[op.ID] = &c
	// Apply does the others.
	//exhaustive:ignore
	switch op.Kind {
	case plan.Start, plan.Restart:
		return m.startContainer(&c, op)
	case plan.Stop:
		c.State, c.ExitCode, c.FinishedAt, c.Facts.Interrupted = api.StateExited, 143, m.now, true
	case plan.Rename:
		for _, o := range m.obs.Containers {
			if o.Name == op.NewName && o.ID != c.ID {
				return fmt.Errorf("name %s is taken by %s", op.NewName, o.ID)
			}
		}
		c.Name = op.NewName
	case plan.Connect:
		if m.obs.Networks[op.NetworkID] == nil {
			return fmt.Errorf("network %s does not exist", op.NetworkID)
		}
		c.Attached[op.NetworkID] = attachment(*op.Endpoint)
	case plan.Disconnect:
		delete(c.Attached, op.NetworkID)
	case plan.Unpause:
		c.State = api.StateRunning
	case plan.Update:
		want := plan.Effective(op.Replica.Spec, m.obs.Images[op.Replica.Spec.Image])
		c.Spec.Resources, c.Spec.Restart = want.Resources, want.Restart
	case plan.Measure:
		c.Facts.WritableBytes = 0
	case plan.Compare:
		c.Facts.ComparedFor = op.SpecHash
		for _, d := range plan.Diff(c.Spec, plan.Effective(op.Replica.Spec, m.obs.Images[op.Replica.Spec.Image])) {
			c.Facts.OpenedDiff = append(c.Facts.OpenedDiff, d.Path)
		}
	case plan.Adopt:
		c.Facts.SpecHash = op.SpecHash
	case plan.CopyFiles:
		c.Facts.FilesCopied = true
	case plan.Probe:
		c.Facts.ProbedHealthy, c.Facts.ProbedUnhealthy = c.StartedAt, false
	case plan.Hook:
		c.Facts.HooksPending = false
	default:
		return fmt.Errorf("operation %s is unknown to the model", op.Kind)
	}
	return nil
}

func (m *model) startContainer(c *api.Container, op plan.Op) error {
	for id := range c.Attached {
		if m.obs.Networks[id] == nil {
			return fmt.Errorf("network %s of %s not found", id, c.Name)
		}
	}
	for _, o := range m.obs.Containers {
		if o.ID != c.ID && isUp(o) && sharesPort(o, c) {
			return fmt.Errorf("port of %s is taken by %s", c.Name, o.Name)
		}
	}
	if len(op.Replica.Spec.Files) > 0 && !c.Facts.FilesCopied && c.StartedAt.IsZero() {
		return fmt.Errorf("%s starts without its files", c.Name)
	}
	if err := m.checkDependencies(op); err != nil {
		return err
	}
	if !c.StartedAt.IsZero() {
		c.Facts.Starts++
	}
	c.State, c.StartedAt, c.Facts.Dead, c.Facts.Interrupted = api.StateRunning, m.now, false, false
	if c.Spec.Healthcheck != nil {
		c.Health = api.HealthStarting
	}
	if op.Wanted.Job {
		c.State, c.ExitCode, c.FinishedAt = api.StateExited, 0, m.now.Add(time.Second)
	}
	if m.crashing[c.ImageID] {
		c.State, c.ExitCode, c.FinishedAt, c.Restarts = api.StateRestarting, 1, m.now.Add(time.Millisecond), c.Restarts+4
	}
	c.Facts.HooksPending = len(op.Wanted.PostStart) > 0
	return nil
}

// checkDependencies is the guard that dependents run only after success, told from the
// engine's side and without the planner's own notion of health.
func (m *model) checkDependencies(op plan.Op) error {
	for _, dep := range op.Wanted.DependsOn {
		met := !dep.Required
		for _, c := range m.obs.Containers {
			if c.Labels[api.LabelService] != dep.Service || c.Labels[api.LabelStack] == "" {
				continue
			}
			switch dep.Condition {
			case api.ServiceHealthy:
				met = met || c.State == api.StateRunning && (c.Health == api.HealthNone || c.Health == api.HealthHealthy || c.Facts.ProbedHealthy.Equal(c.StartedAt))
			case api.ServiceCompleted:
				met = met || c.State == api.StateExited && c.ExitCode == 0 && !c.StartedAt.IsZero()
			default:
				met = met || !c.StartedAt.IsZero()
			}
		}
		for key := range m.obs.Jobs {
			met = met || strings.Contains(key, "/"+dep.Service+"/")
		}
		if !met {
			return fmt.Errorf("%s starts before %s is %s", op.Object, dep.Service, dep.Condition)
		}
	}
	return nil
}

func sharesPort(a, b *api.Container) bool {
	for _, p := range a.Spec.Ports {
		for _, q := range b.Spec.Ports {
			if p.Published != "" && p.Published == q.Published {
				return true
			}
		}
	}
	return false
}
