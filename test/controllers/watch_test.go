package controllers_test

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// picture is what is looked at of a document that status --watch brings.
type picture struct {
	Time time.Time
	Head struct{ Revision string }
}

// pictures are all that were shown, and before how many of them a loss was told.
func pictures(p *process) (shown []picture, losses []int) {
	for line := range strings.Lines(p.log.all()) {
		var one picture
		switch {
		case strings.HasPrefix(line, "ktrdrctl: the controller can't be reached at "+fleetName):
			losses = append(losses, len(shown))
		case json.Unmarshal([]byte(line), &one) == nil:
			shown = append(shown, one)
		}
	}
	return shown, losses
}

// push makes another revision, and returns it.
func (f *followed) push(message string) string {
	f.world.t.Helper()
	return f.forge.push(message, map[string]string{"stacks/workers/notes.md": message + "\n"})
}

// sees waits until both who watch see a revision.
func (f *followed) sees(when, revision string) {
	f.world.t.Helper()
	f.pushed = append(f.pushed, revision)
	await(f.world.t, "a program sees the head "+when, func() bool {
		shown, _ := pictures(f.watch)
		return slices.ContainsFunc(shown, func(p picture) bool { return p.Head.Revision == revision })
	})
	await(f.world.t, "a person sees the rollout "+when, func() bool { return strings.Contains(f.lines.log.all(), "rollout "+revision[:12]) })
}

// current: two losses were told, each before anything of another controller was shown, and no
// picture was older than the one before.
func (f *followed) current() {
	t := f.world.t
	t.Helper()
	shown, losses := pictures(f.watch)
	if len(losses) != 2 {
		t.Fatalf("%d losses were told", len(losses))
	}
	for i, p := range shown {
		at := slices.Index(f.pushed, p.Head.Revision)
		if at < 0 || i > 0 && (p.Time.Before(shown[i-1].Time) || at < slices.Index(f.pushed, shown[i-1].Head.Revision)) {
			t.Errorf("picture %d of %s shows revision %.12s, the one before it %+v", i, p.Time, p.Head.Revision, shown[max(0, i-1)])
		}
		// The second and the third revision were pushed after a loss.
		if at > 0 && i < losses[at-1] {
			t.Errorf("picture %d shows revision %d before the loss was told", i, at+1)
		}
	}
	text := f.lines.log.all()
	for _, says := range []string{"the controller can't be reached at " + fleetName, "there is an answer again"} {
		if n := strings.Count(text, says); n != 2 {
			t.Errorf("a person was told %d times that %s", n, says)
		}
	}
	t.Logf("%d pictures, %d losses", len(shown), len(losses))
}
