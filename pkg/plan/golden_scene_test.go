package plan_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// objects makes the networks and volumes: those that are desired, as they are desired,
// and those that the scenario tells.
func (sc *scene) objects() {
	networks, volumes := map[string]api.NetworkSpec{}, map[string]api.VolumeSpec{}
	for _, spec := range sc.in.Stack.Networks {
		networks[spec.Name] = spec
		if _, told := sc.told.Networks[spec.Name]; !told && !sc.told.Empty {
			sc.network(spec, &scenarioObject{Person: spec.External})
		}
	}
	for _, spec := range sc.in.Stack.Volumes {
		volumes[spec.Name] = spec
		if _, told := sc.told.Volumes[spec.Name]; !told && !sc.told.Empty {
			sc.volume(spec, &scenarioObject{Person: spec.External})
		}
	}
	for name, o := range sc.told.Networks {
		if spec := networks[name]; o != nil {
			spec.Name = name
			sc.network(spec, o)
		}
	}
	for name, o := range sc.told.Volumes {
		if spec := volumes[name]; o != nil {
			spec.Name = name
			sc.volume(spec, o)
		}
	}
}

func (sc *scene) network(spec api.NetworkSpec, o *scenarioObject) {
	sc.patch(&spec, o.Was)
	id := goldenID(spec.Name)
	sc.in.Observed.Networks[id] = &api.Network{ID: id, Name: spec.Name, Spec: spec, Labels: sc.objectLabels(o, spec.Hash())}
}

func (sc *scene) volume(spec api.VolumeSpec, o *scenarioObject) {
	sc.patch(&spec, o.Was)
	sc.in.Observed.Volumes[spec.Name] = &api.Volume{Name: spec.Name, Labels: sc.objectLabels(o, spec.Hash())}
}

func (sc *scene) objectLabels(o *scenarioObject, hash string) map[string]string {
	if o.Person {
		return nil
	}
	return map[string]string{api.LabelStack: sc.in.Stack.Name, api.LabelProject: sc.in.Stack.Project, api.LabelSpecHash: hash}
}

func (sc *scene) patch(into any, patch json.RawMessage) {
	sc.t.Helper()
	if len(patch) == 0 {
		return
	}
	if err := json.Unmarshal(patch, into); err != nil {
		sc.t.Fatalf("%s: %v", patch, err)
	}
}

// containers makes the wanted ones, where the scenario does not tell of them, and those
// that it tells.
func (sc *scene) containers() {
	for _, svc := range sc.in.Stack.Services {
		for _, r := range svc.Replicas {
			if _, told := sc.told.Containers[r.Name]; !told && !sc.told.Empty {
				sc.container(r.Name, &scenarioContainer{})
			}
			if slices.Contains(sc.told.Done, r.Name) {
				key := api.JobKey(sc.in.Stack.Project, svc.Name, r.Name)
				sc.in.Observed.Jobs[key] = r.SpecHash + plan.SecretDigest(&svc, &r, sc.in.Secrets)
			}
		}
	}
	for name, c := range sc.told.Containers {
		if c != nil {
			sc.container(name, c)
		}
	}
	sc.triedUpdates()
}

// madeWith is the secret digest that a container carries.
func (sc *scene) madeWith(service string, rep *api.Replica, told *scenarioContainer) string {
	digests := maps.Clone(sc.in.Secrets)
	maps.Copy(digests, told.Secrets)
	svc := sc.in.Stack.Service(service)
	if told.All {
		svc = nil
	}
	return plan.SecretDigest(svc, rep, digests)
}

// kept tells what is remembered: that containers have the newest value of what they keep.
func (sc *scene) kept() {
	known := map[string]api.Kept{}
	for _, svc := range sc.in.Stack.Services {
		for _, rep := range svc.Replicas {
			for _, k := range svc.Keeps {
				key := api.KeptKey(sc.in.Stack.Project, rep.Name, k.Ref)
				told, is := sc.told.Kept[rep.Name+" "+k.Ref]
				switch {
				case told != nil:
					known[key] = *told
				case !is && !sc.told.Empty:
					known[key] = api.Kept{Accepted: sc.in.Secrets[k.Ref]}
				}
			}
		}
	}
	sc.in.Observed.Kept = known
	defer sc.fillFolders()
	sc.in.Keepers.Earlier = map[string]bool{}
	for _, digest := range sc.told.Earlier {
		sc.in.Keepers.Earlier[digest] = true
	}
}

// fillFolders lets the folders of containers that keep something hold what they keep.
func (sc *scene) fillFolders() {
	for _, svc := range sc.in.Stack.Services {
		for _, rep := range svc.Replicas {
			digests := maps.Clone(sc.in.Secrets)
			for _, k := range svc.Keeps {
				accepted := sc.in.Observed.Kept[api.KeptKey(sc.in.Stack.Project, rep.Name, k.Ref)].Accepted
				if sc.in.Keepers.Earlier[accepted] {
					digests[k.Ref] = accepted
				}
			}
			if folder := rep.Name + ".folder"; len(svc.Keeps) > 0 && !sc.told.Stale && sc.in.Observed.Folders[folder] != "" {
				sc.in.Observed.Folders[folder] = plan.FolderDigest(&svc, &rep, digests)
			}
		}
	}
}

func (sc *scene) serviceOf(rep *api.Replica) *api.Service {
	for i := range sc.in.Stack.Services {
		for _, r := range sc.in.Stack.Services[i].Replicas {
			if r.Name == rep.Name {
				return &sc.in.Stack.Services[i]
			}
		}
	}
	return nil
}

// itself stands for a hash in Facts: that of the wanted spec, or of the update that was tried.
const itself = "wanted"

func (sc *scene) hashes(c *api.Container, rep *api.Replica) {
	if c.Facts.SpecHash == itself {
		c.Facts.SpecHash = rep.SpecHash
	}
	if c.Facts.ComparedFor == itself {
		c.Facts.ComparedFor = rep.SpecHash + plan.SecretDigest(sc.serviceOf(rep), rep, sc.in.Secrets)
	}
}

// triedUpdates asks for the plan before an update to learn what that is remembered as.
func (sc *scene) triedUpdates() {
	for _, c := range sc.in.Observed.Containers {
		if c.Facts.UpdateTried != itself {
			continue
		}
		for _, op := range plan.Build(sc.in).Ops {
			if op.Kind == plan.Update && op.ID == c.ID {
				c.Facts.UpdateTried = op.SpecHash
			}
		}
	}
}

func (sc *scene) container(name string, told *scenarioContainer) {
	svc, rep := sc.wanted(name, told)
	spec := clone(sc, rep.Spec)
	sc.patch(&spec, told.Was)
	image := sc.in.Observed.Images[spec.Image]
	if image == nil || image.Missing {
		image = &api.Image{ID: imageID(spec.Image)}
	}
	labels := sc.containerLabels(svc, rep, spec, told)
	if labels[api.LabelDelivery] == api.DeliveryFiles {
		bound, _ := plan.SplitFiles(spec.Files)
		spec = plan.Delivered(spec, image, plan.Binds{Exec: "/exec", Values: "/values", Files: make([]string, len(bound))})
	}
	seen := plan.Effective(spec, image)
	sc.follow(&seen.NetworkMode)
	sc.follow(&seen.IpcMode)
	sc.follow(&seen.PidMode)
	sc.patch(&seen, told.Edited)
	c := &api.Container{
		ID: goldenID(name), Name: name, Image: spec.Image, ImageID: image.ID, Spec: seen, State: told.State,
		ExitCode: told.ExitCode, Error: told.Error, Health: told.Health, HealthLog: told.HealthLog, Restarts: told.Restarts,
		Labels: labels, Attached: map[string]api.Attachment{},
		AnonymousVolumes: told.Anonymous, Facts: api.ContainerFacts{WritableBytes: -1, FilesCopied: true},
	}
	if told.ImageID != "" {
		c.ImageID = told.ImageID
	}
	if c.State == "" {
		c.State = api.StateRunning
	}
	if c.Health == "" && c.State == api.StateRunning && seen.Healthcheck != nil {
		c.Health = api.HealthHealthy
	}
	sc.times(c, told)
	sc.attach(c, spec, told)
	sc.patch(&c.Facts, told.Facts)
	sc.hashes(c, &rep)
	sc.in.Observed.Containers[c.ID] = c
}

// wanted finds the service and replica that a container is of; both are empty where the
// stack has none.
func (sc *scene) wanted(name string, told *scenarioContainer) (service string, rep api.Replica) {
	of, number := told.Of, 1
	if rest, ok := strings.CutPrefix(name, "p-"); ok && of == "" {
		of = rest[:strings.LastIndexByte(rest, '-')] + "/" + rest[strings.LastIndexByte(rest, '-')+1:]
	}
	service, text, _ := strings.Cut(of, "/")
	if n, err := strconv.Atoi(text); err == nil {
		number = n
	}
	rep = api.Replica{Number: number, Name: name}
	if svc := sc.in.Stack.Service(service); svc != nil {
		for _, r := range svc.Replicas {
			rep.Spec = r.Spec // of another number where its own is gone
			if r.Number == number {
				return service, r
			}
		}
	}
	return service, rep
}

// clone keeps a patch from writing through slices that containers share.
func clone(sc *scene, spec api.ContainerSpec) api.ContainerSpec {
	data, err := json.Marshal(spec)
	if err != nil {
		sc.t.Fatal(err)
	}
	var out api.ContainerSpec
	sc.patch(&out, data)
	return out
}

// follow replaces a shared namespace by the container that the service has.
func (sc *scene) follow(mode *string) {
	if name, ok := strings.CutPrefix(*mode, "service:"); ok {
		*mode = "container:" + goldenID("p-"+name+"-1")
	}
}

func (sc *scene) containerLabels(service string, rep api.Replica, spec api.ContainerSpec, told *scenarioContainer) map[string]string {
	labels := map[string]string{}
	if !told.Person {
		labels[api.LabelProject], labels[api.LabelService] = sc.in.Stack.Project, service
		labels[api.LabelNumber] = strconv.Itoa(rep.Number)
		if told.Project != "" {
			labels[api.LabelProject] = told.Project
		}
	}
	switch {
	case told.From != "":
		labels[api.LabelWorkingDir] = told.From
	case !told.Person:
		labels[api.LabelStack], labels[api.LabelSpecHash] = sc.in.Stack.Name, spec.Hash()
		if d := sc.madeWith(service, &rep, told); d != "" {
			labels[api.LabelSecretDigest] = d
		}
		sc.deliver(labels, service, rep)
	}
	maps.Copy(labels, told.Labels)
	return labels
}

// deliver gives a container with secrets its folder.
func (sc *scene) deliver(labels map[string]string, service string, rep api.Replica) {
	svc := sc.in.Stack.Service(service)
	if svc == nil {
		return
	}
	labels[api.LabelDelivery] = plan.DeliveryOf(sc.in.Stack, svc, &rep)
	if labels[api.LabelDelivery] != api.DeliveryFiles {
		return
	}
	labels[api.LabelSecretFolder] = rep.Name + ".folder"
	if !sc.told.Rebooted {
		sc.in.Observed.Folders[rep.Name+".folder"] = "v1:held"
	}
}

func (sc *scene) times(c *api.Container, told *scenarioContainer) {
	up := sc.duration(told.Up, time.Hour)
	c.Created = noon.Add(-up - time.Second)
	if told.Up == "never" || c.State == api.StateCreated {
		return
	}
	c.StartedAt = noon.Add(-up)
	if c.State == api.StateExited || c.State == api.StateRestarting {
		c.FinishedAt = c.StartedAt.Add(sc.duration(told.Ran, 30*time.Minute))
	}
}

func (sc *scene) duration(text string, fallback time.Duration) time.Duration {
	if text == "" || text == "never" {
		return fallback
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		sc.t.Fatal(err)
	}
	return d
}

func (sc *scene) attach(c *api.Container, spec api.ContainerSpec, told *scenarioContainer) {
	for _, ep := range spec.Endpoints {
		c.Attached[goldenID(ep.Network)] = attachment(ep)
	}
	if told.Attached != nil {
		clear(c.Attached)
	}
	for name, at := range told.Attached {
		at.Name = name
		c.Attached[goldenID(name)] = at
	}
}
