package plan_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// noon is "now" in every golden file; containers started an hour earlier.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// scenarioStack is an api.Stack whose services may give one spec and a scale in place of
// replicas. Project is "p", stack "s"; a network p_default of the stack is attached.
type scenarioStack struct {
	api.Stack
	Services []scenarioService `json:"services"`
}

type scenarioService struct {
	api.Service
	Spec  api.ContainerSpec `json:"spec"`
	Scale *int              `json:"scale"`
	// Registration of all replicas.
	Registration *api.Registration `json:"registration"`
}

// scenario tells how the engine differs from one that holds all that is desired. In the
// maps, null means that the object is not there.
type scenario struct {
	Empty      bool                          `json:"empty"` // no containers, networks, volumes
	Incomplete bool                          `json:"incomplete"`
	Containers map[string]*scenarioContainer `json:"containers"`
	Networks   map[string]*scenarioObject    `json:"networks"`
	Volumes    map[string]*scenarioObject    `json:"volumes"`
	Images     map[string]*api.Image         `json:"images"` // null: never looked up
	Secrets    map[string]*string            `json:"secrets"`
	Refused    map[string]string             `json:"refused"`
	Kept       map[string]*api.Kept          `json:"kept"`    // by container and reference; null: not remembered
	Earlier    []string                      `json:"earlier"` // digests of replaced values at hand
	Mounts     map[string]api.MountState     `json:"mounts"`
	Failures   map[string]api.Failure        `json:"failures"`
	Done       []string                      `json:"done"` // containers of jobs that are recorded
	Jobs       map[string]string             `json:"jobs"` // records of other hashes
	Hold       *api.Hold                     `json:"hold"`
	Denied     string                        `json:"denied"`     // what the policy says
	Unknown    bool                          `json:"unknown"`    // nothing is known to be good yet
	GoodImages map[string]string             `json:"goodImages"` // ids by reference, where tags moved since
	GoodJobs   []string                      `json:"goodJobs"`   // containers of jobs that had ended well then
	Failed     *api.FailedUpdate             `json:"failed"`
	Stale      bool                          `json:"staleFolders"`
	Rebooted   bool                          `json:"rebooted"` // no secret folder is left
	Fault      string                        `json:"fault"`    // of the delivery of secrets
}

// scenarioObject is a network or volume; Was patches the spec that it was made from.
type scenarioObject struct {
	Was    json.RawMessage `json:"was"`
	Person bool            `json:"person"` // made by a person, not by the agent
}

// scenarioContainer is a container by its deviations from a wanted one that runs well.
type scenarioContainer struct {
	Of        string                    `json:"of"`      // "web/2" where the name does not tell
	From      string                    `json:"from"`    // working directory: Compose made it
	Project   string                    `json:"project"` // of Compose
	Person    bool                      `json:"person"`  // made by docker run
	Was       json.RawMessage           `json:"was"`     // patch of the spec it was made from
	Edited    json.RawMessage           `json:"edited"`  // patch of what is read back
	State     api.ContainerState        `json:"state"`
	ExitCode  int                       `json:"exitCode"`
	Error     string                    `json:"error"`
	Health    api.Health                `json:"health"`
	HealthLog string                    `json:"healthLog"`
	Restarts  int                       `json:"restarts"`
	Up        string                    `json:"up"`  // since its start; "never"
	Ran       string                    `json:"ran"` // from start to end
	ImageID   string                    `json:"imageID"`
	Attached  map[string]api.Attachment `json:"attached"` // by name of the network
	Labels    map[string]string         `json:"labels"`
	Secrets   map[string]string         `json:"secrets"` // digests that it was made with, where they differ
	All       bool                      `json:"all"`     // its digest covers kept secrets too
	Anonymous map[string]string         `json:"anonymous"`
	Facts     json.RawMessage           `json:"facts"`
}

// imageOf stands for the id of an image: "@ID:web:1@".
var imageOf = regexp.MustCompile(`@ID:([^@]+)@`)

var reference = regexp.MustCompile(`\{\{ (op://[^ ]+) \}\}`)

func strict(t *testing.T, archive *txtar.Archive, name string, into any) {
	t.Helper()
	data := reference.ReplaceAllStringFunc(section(archive, name), func(s string) string {
		return api.Placeholder(reference.FindStringSubmatch(s)[1])
	})
	data = imageOf.ReplaceAllStringFunc(data, func(s string) string { return imageID(imageOf.FindStringSubmatch(s)[1]) })
	d := json.NewDecoder(bytes.NewReader([]byte(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// scene builds the input of one golden file.
type scene struct {
	t    *testing.T
	told scenario
	in   plan.Input
	good *api.Stack
}

func scenarioInput(t *testing.T, archive *txtar.Archive) plan.Input {
	t.Helper()
	in := sceneInput(t, archive, "")
	if section(archive, elsewhere+"desired") != "" {
		joinElsewhere(&in, sceneInput(t, archive, elsewhere))
	}
	return in
}

// sceneInput builds one stack from the sections that begin with prefix.
func sceneInput(t *testing.T, archive *txtar.Archive, prefix string) plan.Input {
	t.Helper()
	var desired scenarioStack
	sc := &scene{t: t}
	strict(t, archive, prefix+"desired", &desired)
	strict(t, archive, prefix+"observed", &sc.told)
	sc.in = plan.Input{
		Node: "a", Revision: "r1", Now: noon, Stack: goldenStack(&desired), Refused: sc.told.Refused, Secrets: map[string]string{},
		Observed: &api.Observed{
			Complete: !sc.told.Incomplete, Containers: map[string]*api.Container{}, Networks: map[string]*api.Network{},
			Volumes: map[string]*api.Volume{}, Images: map[string]*api.Image{}, Mounts: sc.told.Mounts,
			Failures: sc.told.Failures, Jobs: map[string]string{}, Holds: map[string]api.Hold{}, Rollouts: map[string]*api.Rollout{},
			Folders: map[string]string{}, DeliveryFault: sc.told.Fault,
		},
	}
	sc.good = sc.in.Stack
	if section(archive, prefix+"good") != "" {
		var good scenarioStack
		strict(t, archive, prefix+"good", &good)
		sc.good = goldenStack(&good)
	}
	if sc.told.Hold != nil {
		sc.in.Observed.Holds[sc.in.Stack.Name] = *sc.told.Hold
	}
	if sc.told.Denied != "" {
		sc.in.Denied = []api.Condition{{Type: api.ConditionBlocked, Status: true, Reason: api.ReasonPolicyViolation, Message: sc.told.Denied}}
	}
	maps.Copy(sc.in.Observed.Jobs, sc.told.Jobs)
	sc.images()
	sc.objects()
	sc.containers()
	sc.rollout()
	sc.kept()
	return sc.in
}

// rollout tells what is remembered: that the stack, or the one of the section "good", ran well.
func (sc *scene) rollout() {
	memory := &api.Rollout{Good: &api.KnownGood{
		Desired: &api.Desired{Revision: "r0", Node: "a", Stacks: []api.Stack{*sc.good}}, Images: map[string]api.ImagePin{}, Jobs: map[string]string{},
	}}
	for _, svc := range sc.good.Services {
		for _, r := range svc.Replicas {
			pin := api.ImagePin{ID: imageID(r.Spec.Image)}
			if img := sc.in.Observed.Images[r.Spec.Image]; img != nil {
				pin.ID = cmp.Or(img.ID, pin.ID)
			}
			pin.ID = cmp.Or(sc.told.GoodImages[r.Spec.Image], pin.ID)
			memory.Good.Images[r.Name] = pin
			if slices.Contains(sc.told.GoodJobs, r.Name) {
				memory.Good.Jobs[api.JobKey(sc.good.Project, svc.Name, r.Name)] = r.SpecHash
			}
		}
	}
	if sc.told.Unknown {
		memory.Good = nil
	}
	if f := sc.told.Failed; f != nil {
		failed := *f
		if failed.Digest == itself {
			failed.Digest = sc.in.Stack.SumDigest()
		}
		memory.Failed = &failed
	}
	sc.in.Observed.Rollouts[sc.in.Stack.Name] = memory
}

func goldenStack(d *scenarioStack) *api.Stack {
	stack := d.Stack
	stack.Name, stack.Project = cmp.Or(stack.Name, "s"), cmp.Or(stack.Project, "p")
	stack.Services = nil
	for _, s := range d.Services {
		svc, scale := s.Service, 1
		if s.Scale != nil {
			scale = *s.Scale
		}
		if s.Spec.Image == "" {
			s.Spec.Image = s.Name + ":1"
		}
		if s.Spec.Restart.Name == "" && !svc.Job {
			s.Spec.Restart.Name = "unless-stopped"
		}
		for i := range stack.Networks {
			if n := &stack.Networks[i]; n.Name == "p_default" && s.Spec.NetworkMode == "" && s.Spec.Endpoints == nil {
				s.Spec.Endpoints = []api.Endpoint{{Network: n.Name, Aliases: []string{s.Name}}}
			}
		}
		for _, m := range s.Spec.Mounts {
			if m.Repo != nil {
				m.Repo.Path = "stacks/s" + m.Target
			}
		}
		for n := 1; n <= scale; n++ {
			svc.Replicas = append(svc.Replicas, api.Replica{
				Number: n, Name: fmt.Sprintf("p-%s-%d", svc.Name, n), Spec: s.Spec, SpecHash: s.Spec.Hash(), SecretRefs: specRefs(s.Spec),
				Registration: s.Registration,
			})
		}
		stack.Services = append(stack.Services, svc)
	}
	return &stack
}

func specRefs(spec api.ContainerSpec) []string {
	var refs []string
	for _, kv := range spec.Env {
		refs = append(refs, api.References(kv)...)
	}
	for _, f := range spec.Files {
		refs = append(refs, api.References(f.Content)...)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// images: everything wanted is here, and every secret has a value.
func (sc *scene) images() {
	for _, svc := range sc.in.Stack.Services {
		for _, r := range svc.Replicas {
			sc.in.Observed.Images[r.Spec.Image] = &api.Image{ID: imageID(r.Spec.Image)}
			for _, ref := range r.SecretRefs {
				sc.in.Secrets[ref] = "v1:digest"
			}
		}
	}
	for ref, img := range sc.told.Images {
		if img == nil {
			delete(sc.in.Observed.Images, ref)
			continue
		}
		if img.ID == "" && !img.Missing {
			img.ID = imageID(ref)
		}
		sc.in.Observed.Images[ref] = img
	}
	for ref, digest := range sc.told.Secrets {
		delete(sc.in.Secrets, ref)
		if digest != nil {
			sc.in.Secrets[ref] = *digest
		}
	}
}

func imageID(ref string) string { return "sha256:" + goldenID(ref) }

func goldenID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}
