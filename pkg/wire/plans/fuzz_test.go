package plans_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/wire/plans"
	"ktrdr.io/fleet/pkg/wire/wiretest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// FuzzPlan reads anything that is a plan of a node, as ktrdrctl does, and prints it.
func FuzzPlan(f *testing.F) {
	var full plan.Plan
	wiretest.Fill(f, &full)
	data, err := proto.Marshal(plans.ToProto(&full))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var message ktrdrv1.StackPlan
		if proto.Unmarshal(data, &message) != nil {
			return
		}
		first := plans.FromProto(&message)
		_ = first.String()
		if diff := cmp.Diff(first, plans.FromProto(sent(t, plans.ToProto(first)))); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzProblems reads anything that is an answer about a state that was uploaded.
func FuzzProblems(f *testing.F) {
	data, err := proto.Marshal(&ktrdrv1.ValidateResponse{Problems: []*ktrdrv1.Problem{{File: "a", Line: -1, Column: 1 << 30}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var message ktrdrv1.ValidateResponse
		if proto.Unmarshal(data, &message) != nil {
			return
		}
		for _, p := range plans.ProblemsFromProto(message.GetProblems()) {
			_ = p.String()
		}
	})
}
