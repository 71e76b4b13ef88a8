package plans_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/wire/plans"
	"ktrdr.io/fleet/pkg/wire/wiretest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func sent[Message proto.Message](t *testing.T, m Message) Message {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	received := m.ProtoReflect().New().Interface().(Message)
	if err := proto.Unmarshal(data, received); err != nil {
		t.Fatal(err)
	}
	return received
}

func TestPlansLoseNothingThatIsShown(t *testing.T) {
	var want plan.Plan
	wiretest.Fill(t, &want)
	message := plans.ToProto(&want)
	if missing := wiretest.Unset(message.ProtoReflect()); len(missing) > 0 {
		t.Errorf("nothing fills these fields of the message: %v", missing)
	}
	got := plans.FromProto(sent(t, message))
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("lost on the way (-sent +received):\n%s", diff)
	}
	if want.String() != got.String() {
		t.Error("the plan is printed in another way")
	}
	wiretest.Garble(&want)
	sent(t, plans.ToProto(&want))
}

func TestProblemsLoseNothing(t *testing.T) {
	var want []desired.Problem
	wiretest.Fill(t, &want)
	others := []string{"ktrdr.v1.ValidateResponse.diff", "ktrdr.v1.ValidateResponse.nodes", "ktrdr.v1.ValidateResponse.truncated", "ktrdr.v1.ValidateResponse.warnings"}
	message := &ktrdrv1.ValidateResponse{Problems: plans.ProblemsToProto(want)}
	if missing := wiretest.Unset(message.ProtoReflect()); !cmp.Equal(missing, others) {
		t.Errorf("nothing fills these fields of the message: %v", missing)
	}
	if diff := cmp.Diff(want, plans.ProblemsFromProto(sent(t, message).GetProblems())); diff != "" {
		t.Errorf("lost on the way (-sent +received):\n%s", diff)
	}
	wiretest.Garble(&want)
	sent(t, &ktrdrv1.ValidateResponse{Problems: plans.ProblemsToProto(want)})
}
