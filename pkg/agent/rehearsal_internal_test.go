package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// TestWithImages: images that nobody has looked up are looked up once, what is known is not,
// and what was observed stays as it was.
func TestWithImages(t *testing.T) {
	known, here := &api.Image{ID: "known"}, &api.Image{ID: "here"}
	stack := api.Stack{}
	for _, ref := range []string{"known:1", "here:2", "here:2", "nowhere:3"} {
		stack.Services = append(stack.Services, api.Service{Replicas: []api.Replica{{Spec: api.ContainerSpec{Image: ref, Platform: "linux/arm64"}}}})
	}
	for name, c := range map[string]struct {
		fails error
		asked []string
		want  map[string]string
	}{
		"an engine that answers":      {nil, []string{"here:2 linux/arm64", "nowhere:3 linux/arm64"}, map[string]string{"known:1": "known", "here:2": "here", "nowhere:3": "missing"}},
		"an engine that does not":     {errors.New("EOF"), []string{"here:2 linux/arm64"}, map[string]string{"known:1": "known"}},
		"an engine that has no image": {engine.ErrNotFound, []string{"here:2 linux/arm64", "nowhere:3 linux/arm64"}, map[string]string{"known:1": "known", "here:2": "missing", "nowhere:3": "missing"}},
	} {
		seen := &api.Observed{Complete: true, Images: map[string]*api.Image{"known:1": known}}
		var asked []string
		more := withImages(t.Context(), seen, []api.Stack{stack}, func(_ context.Context, ref, platform string) (*api.Image, error) {
			asked = append(asked, ref+" "+platform)
			switch {
			case c.fails != nil:
				return nil, c.fails
			case ref == "here:2":
				return here, nil
			}
			return nil, fmt.Errorf("inspect image %s: %w", ref, engine.ErrNotFound)
		})
		got := map[string]string{}
		for ref, image := range more.Images {
			if got[ref] = image.ID; image.Missing {
				got[ref] = "missing"
			}
		}
		if !slices.Equal(asked, c.asked) || fmt.Sprint(got) != fmt.Sprint(c.want) || !more.Complete {
			t.Errorf("%s: asked %v, images %v, wanted %v and %v", name, asked, got, c.asked, c.want)
		}
		if len(seen.Images) != 1 {
			t.Errorf("%s: what was observed has changed: %v", name, seen.Images)
		}
	}
	if more := withImages(t.Context(), &api.Observed{}, []api.Stack{stack}, func(context.Context, string, string) (*api.Image, error) { return here, nil }); len(more.Images) != 3 {
		t.Errorf("of nothing observed: %v", more.Images)
	}
}
