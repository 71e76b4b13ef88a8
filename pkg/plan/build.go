package plan

import (
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Input is everything that Build looks at.
type Input struct {
	Node     string
	Revision string
	// Stack with no services removes what the stack had.
	Stack    *api.Stack
	Observed *api.Observed
	// Secrets maps a reference to the keyed digest of its present value. A reference
	// that is absent has no value at hand.
	Secrets map[string]string
	// Refused says of references whose value breaks a rule of the stack's contract which
	// one, never the value.
	Refused map[string]string
	// Denied says what the node's policy does not allow of the stack. While there is any,
	// nothing of the stack is changed, started, stopped or removed.
	Denied []api.Condition
	// Keepers tells about secrets that services apply at their first start only.
	Keepers KeeperSigns
	// Now is only compared with times of the input.
	Now time.Time
	// Rehearsal says that nobody runs the plan: it remembers nothing.
	Rehearsal bool

	// asking are stacks whose plans ask for this one.
	asking []string
}

// build plans one stack, whichever the rollout has in force.
func (b *builder) build() *Plan {
	b.weighSecrets()
	b.plan.InForce = b.secrets
	b.planNetworks()
	b.planVolumes()
	for _, s := range b.slots {
		b.resolveImage(s)
	}
	for _, s := range b.slots {
		b.classify(s)
	}
	for _, s := range b.slots {
		b.rotate(s)
		b.planSlot(s)
	}
	b.tellRotations()
	b.prune()
	b.finish()
	return b.plan
}

// slotKey identifies one wanted container of a stack.
type slotKey struct {
	service string
	number  int
}

// slot is one wanted container with what exists for it.
type slot struct {
	svc *api.Service
	rep *api.Replica
	// found are our containers of this service and number, newest first.
	found []*api.Container
	// keeper is the one that fulfils the spec; obsolete are all others.
	keeper   *api.Container
	obsolete []*api.Container
	diff     []FieldDiff
	cause    string
	image    *api.Image
	// from is the id of the image to create from where its reference means another one.
	from string
	// imageNeeds are ops that bring the image.
	imageNeeds []string
	adopt      bool
	// undecided: something has to be learned before anything else is planned.
	undecided bool
	// problem blocks the slot; what runs keeps running.
	problem *problem
	// degraded is a problem of a container that is otherwise as wanted.
	degraded *problem
	// started and ready are the keys dependents wait for; empty when it is so already.
	started, ready string
	// unlisted says that it is not registered yet, which it has to be.
	unlisted bool
	// done is true for a job that ended well.
	done bool
	ops  int
}

// problem is why a slot can't go on.
type problem struct {
	reason  api.Reason
	message string
	// waiting says that it resolves without a person.
	waiting bool
}

// builder collects operations for one Build.
type builder struct {
	in    Input
	stack *api.Stack
	obs   *api.Observed
	plan  *Plan

	keys     map[string]int
	owned    map[slotKey][]*api.Container
	byName   map[string]*api.Container
	networks map[string]*networkState
	volumes  map[string]string // engine name -> key of the op that makes it
	blocked  map[string]*problem
	slots    []*slot
	services map[string][]*slot
	pulls    []string
	pooled   []api.Condition

	// What the rollout knows: the last known good, the containers that keep its images,
	// where the stack stands, and when its update failed.
	good         *api.Stack
	goodReplicas map[replicaKey]*api.Replica
	known        *api.KnownGood
	pinned       map[string]api.ImagePin
	phase        Phase
	failedAt     time.Time

	// secrets are the digests of the values in force, own those of containers that keep some.
	// waits says why a secret has none in force, earlier why it is not the newest.
	secrets        map[string]string
	own            map[*api.Replica]map[string]string
	waits, earlier map[string]*problem
	keeping        []*keeping            // of this stack
	keepers        map[string][]*keeping // of the node, by reference
	elsewhere      map[string]*Plan      // of stacks that were asked whether they have a new value
}

func newBuilder(in Input) *builder {
	b := &builder{
		in: in, stack: in.Stack, obs: in.Observed,
		plan:     &Plan{Stack: in.Stack.Name, Revision: in.Revision, Ops: []Op{}},
		keys:     map[string]int{},
		owned:    map[slotKey][]*api.Container{},
		byName:   make(map[string]*api.Container, len(in.Observed.Containers)),
		networks: map[string]*networkState{},
		volumes:  map[string]string{},
		blocked:  map[string]*problem{},
		services: map[string][]*slot{}, known: &api.KnownGood{}, phase: Steady,
	}
	b.indexContainers()
	for _, svc := range startOrder(in.Stack.Services) {
		for i := range svc.Replicas {
			rep := &svc.Replicas[i]
			s := &slot{svc: svc, rep: rep, found: b.owned[slotKey{svc.Name, rep.Number}]}
			b.slots = append(b.slots, s)
			b.services[svc.Name] = append(b.services[svc.Name], s)
		}
	}
	if b.isHeld(in.Stack.Name) {
		b.plan.Held = true
		b.wakeAt(in.Observed.Holds[in.Stack.Name].Until)
	}
	return b
}

// add appends op unless an op with its key is there, applies remembered failures, and
// returns the key. Needs that are empty strings are dropped.
func (b *builder) add(op Op) string {
	if i, ok := b.keys[op.Key]; ok {
		b.plan.Ops[i].Background = b.plan.Ops[i].Background && op.Background
		return op.Key
	}
	op.Needs = compact(op.Needs)
	op.Secrets = b.secretsOf(op.Replica)
	if f, ok := b.obs.Failures[op.Key]; ok {
		b.applyFailure(&op, f)
	}
	if !op.NotBefore.IsZero() {
		if op.NotBefore.After(b.in.Now) {
			b.wakeAt(op.NotBefore)
		} else {
			op.NotBefore = time.Time{}
		}
	}
	b.keys[op.Key] = len(b.plan.Ops)
	b.plan.Ops = append(b.plan.Ops, op)
	return op.Key
}

func (b *builder) applyFailure(op *Op, f api.Failure) {
	switch {
	case f.Class == api.Terminal && f.Revision == b.in.Revision:
		op.Stalled = true
	case f.Class != api.Terminal && f.RetryAt.After(op.NotBefore):
		op.NotBefore = f.RetryAt
	}
}

// wakeAt remembers the earliest time at which the plan changes by itself.
func (b *builder) wakeAt(t time.Time) {
	if t.IsZero() || !t.After(b.in.Now) {
		return
	}
	if b.plan.WakeAt.IsZero() || t.Before(b.plan.WakeAt) {
		b.plan.WakeAt = t
	}
}

func compact(needs []string) []string {
	var out []string
	for _, n := range needs {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// shortID is the form of an id that the engine's own tools print.
func shortID(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}
