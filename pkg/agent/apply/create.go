package apply

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// composeVersion is what the version label says: the release of Compose whose behaviour
// the containers follow. Compose shows it and decides nothing by it.
const composeVersion = "5.0.0"

// create makes a container from its spec with everything filled in.
func (x *Executor) create(ctx context.Context, op plan.Op, t plan.Target) error {
	req := engine.CreateRequest{Name: op.NewName, Labels: x.containerLabels(op, t)}
	if old := x.cfg.World.Snapshot().Containers[op.Replaces]; old != nil {
		req.InheritVolumes = old.AnonymousVolumes
	}
	var err error
	if req.Spec, err = x.placed(ctx, op, t); err != nil {
		return err
	}
	if err := x.keepFirst(op, t); err != nil {
		return err
	}
	if plan.UsesFolder(t.Stack, op.Wanted, op.Replica) {
		return x.createDelivered(ctx, op, req)
	}
	if len(op.Replica.SecretRefs) > 0 {
		if req.Spec, err = x.opened(op).spec(req.Spec); err != nil {
			return err
		}
	}
	return x.cfg.Cache.Change(ctx, req.Name, func() (string, error) { return x.cfg.Engine.Create(ctx, req) })
}

// placed resolves repository files and parents of a spec; references stay in it.
func (x *Executor) placed(ctx context.Context, op plan.Op, t plan.Target) (api.ContainerSpec, error) {
	spec := op.Replica.Spec
	spec.Mounts = slices.Clone(spec.Mounts)
	for i, m := range spec.Mounts {
		if m.Repo == nil {
			continue
		}
		path, err := x.cfg.Files.Materialise(ctx, t.Desired.Root, *m.Repo)
		if err != nil {
			return spec, fmt.Errorf("materialise %s for %s: %w", m.Repo.Path, op.Object, err)
		}
		spec.Mounts[i].Source, spec.Mounts[i].Repo = path, nil
	}
	if op.Image != "" {
		spec.Image = op.Image
	}
	return x.resolveParents(spec, op.Parents), nil
}

// resolveParents replaces service: references by ids, and links by container names.
func (x *Executor) resolveParents(spec api.ContainerSpec, parents map[string]string) api.ContainerSpec {
	obs := x.cfg.World.Snapshot()
	mode := func(m string) string {
		if name, ok := strings.CutPrefix(m, "service:"); ok {
			return "container:" + parents[name]
		}
		return m
	}
	spec.NetworkMode, spec.IpcMode, spec.PidMode = mode(spec.NetworkMode), mode(spec.IpcMode), mode(spec.PidMode)
	from := make([]string, 0, len(spec.VolumesFrom))
	for _, v := range spec.VolumesFrom {
		kind, rest, _ := strings.Cut(v, ":")
		name, access, found := strings.Cut(rest, ":")
		if kind == "service" {
			name = parents[name]
		}
		if found {
			name += ":" + access
		}
		from = append(from, name)
	}
	if len(from) > 0 {
		spec.VolumesFrom = from
	}
	links := make([]string, 0, len(spec.Links))
	for _, l := range spec.Links {
		name, alias, _ := strings.Cut(l, ":")
		if c := obs.Containers[parents[name]]; c != nil {
			links = append(links, c.Name+":"+alias)
		}
	}
	if len(links) > 0 {
		spec.Links = links
	}
	return spec
}

// containerLabels are what Compose writes, so that its commands work on our containers,
// and ours.
func (x *Executor) containerLabels(op plan.Op, t plan.Target) map[string]string {
	labels := map[string]string{
		api.LabelProject:     t.Stack.Project,
		api.LabelService:     op.Service,
		api.LabelNumber:      strconv.Itoa(op.Replica.Number),
		api.LabelOneoff:      "False",
		api.LabelConfigHash:  strings.TrimPrefix(op.Replica.SpecHash, api.HashVersion+":"),
		api.LabelWorkingDir:  t.Stack.WorkingDir,
		api.LabelConfigFiles: strings.Join(t.Stack.ConfigFiles, ","),
		api.LabelDependsOn:   dependsLabel(op.Wanted),
		api.LabelVersion:     composeVersion,
		api.LabelStack:       t.Stack.Name,
		api.LabelNode:        t.Desired.Node,
		api.LabelSpecHash:    op.Replica.SpecHash,
	}
	if op.Image != "" {
		labels[api.LabelImage] = op.Image
	} else if img := x.cfg.World.Snapshot().Images[op.Replica.Spec.Image]; img != nil {
		labels[api.LabelImage] = img.ID
	}
	if digest := plan.SecretDigest(op.Wanted, op.Replica, op.Secrets); digest != "" {
		labels[api.LabelSecretDigest] = digest
	}
	if mode := plan.DeliveryOf(t.Stack, op.Wanted, op.Replica); mode != "" {
		labels[api.LabelDelivery] = mode
	}
	if op.Replaces != "" {
		labels[api.LabelReplace] = op.Object
	}
	return labels
}

func dependsLabel(svc *api.Service) string {
	if svc == nil {
		return ""
	}
	parts := make([]string, 0, len(svc.DependsOn))
	for _, d := range svc.DependsOn {
		parts = append(parts, fmt.Sprintf("%s:%s:%t", d.Service, d.Condition, d.Restart))
	}
	sort.Strings(parts)
	return strings.Join(parts, ",")
}

// copyFiles writes configs and secrets with content into a container that was not started
// yet, unless its folder brings them.
func (x *Executor) copyFiles(ctx context.Context, op plan.Op) error {
	files := slices.Clone(op.Replica.Spec.Files)
	if plan.Folder(x.cfg.World.Snapshot().Containers[op.ID]) != "" {
		_, files = plan.SplitFiles(files)
	}
	for i := range files {
		var err error
		if files[i].Content, err = x.opened(op).expand(files[i].Content); err != nil {
			return err
		}
	}
	if err := x.cfg.Engine.CopyFiles(ctx, op.ID, files); err != nil {
		return err
	}
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.FilesCopied = true })
	return nil
}
