package agent

import (
	"context"
	"errors"
	"maps"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// inspectImage is the engine's look at a local image.
type inspectImage func(ctx context.Context, ref, platform string) (*api.Image, error)

// withImages is what was observed and what the engine knows of images that only the stacks
// name: their plan would end with the look at them, which nobody takes for a rehearsal. An
// engine that does not answer is asked no more.
func withImages(ctx context.Context, seen *api.Observed, stacks []api.Stack, inspect inspectImage) *api.Observed {
	more := *seen
	more.Images = maps.Clone(seen.Images)
	if more.Images == nil {
		more.Images = map[string]*api.Image{}
	}
	for i := range stacks {
		for _, service := range stacks[i].Services {
			for _, replica := range service.Replicas {
				ref := replica.Spec.Image
				if more.Images[ref] != nil {
					continue
				}
				image, err := inspect(ctx, ref, replica.Spec.Platform)
				switch {
				case errors.Is(err, engine.ErrNotFound):
					image = &api.Image{Missing: true}
				case err != nil:
					return &more
				}
				more.Images[ref] = image
			}
		}
	}
	return &more
}
