package observe

import (
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// handle marks the objects that an event names as dirty, unless what it tells is known. It
// never blocks.
func (c *Cache) handle(ev engine.Event) {
	switch ev.Type {
	case "container":
		c.noteEnd(ev)
		if !ignored(ev.Action) {
			c.note(key{containerKind, ev.ID}, ev)
		}
	case "network":
		if ev.Action != "connect" && ev.Action != "disconnect" {
			c.note(key{networkKind, ev.ID}, ev)
		}
		if id := ev.Attributes["container"]; id != "" {
			c.note(key{containerKind, id}, ev)
		}
	case "volume":
		if ev.Action != "mount" && ev.Action != "unmount" {
			c.note(key{volumeKind, ev.ID}, ev)
		}
	case "image":
		c.staleImages(ev)
	}
}

// ignored tells the actions that change nothing of a container. Those of exec come from
// the agent's own probes: following them would make every probe ring.
func ignored(action string) bool {
	if strings.HasPrefix(action, "exec_") {
		return true
	}
	switch action {
	case "top", "attach", "detach", "resize", "copy", "export", "commit", "archive-path", "extract-to-dir", "prune":
		return true
	}
	return false
}

// staleImages marks what references resolve to when that may have changed; what they
// were stays readable. A pull concerns its own repository and what was missing; the other
// actions name images by ids that tell nothing about references.
func (c *Cache) staleImages(ev engine.Event) {
	switch ev.Action {
	case "pull", "tag", "untag", "delete", "load", "import", "prune":
	default:
		return
	}
	c.change(func(next *api.Observed) (bool, []string) {
		next.ImageEpoch++
		marked := make(map[string]*api.Image, len(next.Images))
		changed := false
		for ref, img := range next.Images {
			marked[ref] = img
			if img.Stale || ev.Action == "pull" && !img.Missing && repository(ref) != repository(ev.ID) {
				continue
			}
			stale := *img
			stale.Stale, changed = true, true
			marked[ref] = &stale
		}
		if !changed {
			return true, nil
		}
		next.Images = marked
		return true, []string{anyProject}
	})
}

// repository is a reference without tag, digest, and what the engine adds to short names.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	ref = strings.TrimPrefix(ref, "index.")
	ref = strings.TrimPrefix(ref, "docker.io/")
	return strings.TrimPrefix(ref, "library/")
}
