package plan_test

import (
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestStatusTellsWhatRuns: while the wanted image can't be had, the status says which one
// runs, and not that it is the wanted one.
func TestStatusTellsWhatRuns(t *testing.T) {
	in, made := composeMade()
	if st := plan.Build(in).Status.Services[0]; st.Running != "" {
		t.Errorf("runs the wanted image, and the status says %q", st.Running)
	}
	rep := &in.Stack.Services[0].Replicas[0]
	rep.Spec.Image = "img:2"
	rep.SpecHash = rep.Spec.Hash()
	in.Observed.Images["img:2"] = &api.Image{Missing: true}
	if st := plan.Build(in).Status.Services[0]; st.Image != "img:2" || st.Running != made.Image {
		t.Errorf("image %q, running %q; want img:2 and %s", st.Image, st.Running, made.Image)
	}
}
