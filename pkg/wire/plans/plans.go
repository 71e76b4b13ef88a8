package plans

import (
	"slices"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// ToProto converts what JSON shows of a plan.
func ToProto(p *plan.Plan) *ktrdrv1.StackPlan {
	out := &ktrdrv1.StackPlan{
		Stack: wire.Text(p.Stack), Revision: wire.Text(p.Revision), Status: wire.StackStatusToProto(p.Status),
		Held: p.Held, WakeAt: wire.Timestamp(p.WakeAt),
	}
	for i := range p.Ops {
		out.Operations = append(out.Operations, opToProto(&p.Ops[i]))
	}
	return out
}

// FromProto converts a plan. It can be shown, not applied.
func FromProto(p *ktrdrv1.StackPlan) *plan.Plan {
	out := &plan.Plan{
		Stack: p.GetStack(), Revision: p.GetRevision(), Status: wire.StackStatusFromProto(p.GetStatus()),
		Held: p.GetHeld(), WakeAt: wire.Time(p.GetWakeAt()), Ops: make([]plan.Op, 0, len(p.GetOperations())),
	}
	for _, op := range p.GetOperations() {
		out.Ops = append(out.Ops, opFromProto(op))
	}
	return out
}

func opToProto(op *plan.Op) *ktrdrv1.Operation {
	out := &ktrdrv1.Operation{
		Key: wire.Text(op.Key), Kind: wire.Text(op.Kind), Object: wire.Text(op.Object), Service: wire.Text(op.Service),
		Id: wire.Text(op.ID), Cause: wire.Text(op.Cause), NotBefore: wire.Timestamp(op.NotBefore),
		Passive: op.Passive, Background: op.Background, Stalled: op.Stalled,
	}
	for _, need := range op.Needs {
		out.Needs = append(out.Needs, wire.Text(need))
	}
	for _, d := range op.Diff {
		out.Diff = append(out.Diff, &ktrdrv1.FieldDiff{Path: wire.Text(d.Path), Have: wire.Text(d.Have), Want: wire.Text(d.Want)})
	}
	return out
}

func opFromProto(op *ktrdrv1.Operation) plan.Op {
	out := plan.Op{
		Key: op.GetKey(), Kind: plan.Kind(op.GetKind()), Object: op.GetObject(), Service: op.GetService(),
		ID: op.GetId(), Cause: op.GetCause(), NotBefore: wire.Time(op.GetNotBefore()),
		Passive: op.GetPassive(), Background: op.GetBackground(), Stalled: op.GetStalled(),
		Needs: slices.Clone(op.GetNeeds()),
	}
	for _, d := range op.GetDiff() {
		out.Diff = append(out.Diff, plan.FieldDiff{Path: d.GetPath(), Have: d.GetHave(), Want: d.GetWant()})
	}
	return out
}

// maxPlace bounds lines and columns; files of a repository are far smaller.
const maxPlace = 1 << 30

// ProblemsToProto converts problems of a repository, or warnings.
func ProblemsToProto(problems []desired.Problem) []*ktrdrv1.Problem {
	var out []*ktrdrv1.Problem
	for _, p := range problems {
		out = append(out, &ktrdrv1.Problem{
			File: wire.Text(p.File), Line: place(p.Line), Column: place(p.Column), Path: wire.Text(p.Path), Message: wire.Text(p.Message),
		})
	}
	return out
}

func place(n int) int32 { return int32(min(max(n, 0), maxPlace)) } //nolint:gosec // bounded

// ProblemsFromProto converts problems of a repository, or warnings.
func ProblemsFromProto(problems []*ktrdrv1.Problem) []desired.Problem {
	var out []desired.Problem
	for _, p := range problems {
		out = append(out, desired.Problem{
			File: p.GetFile(), Line: int(p.GetLine()), Column: int(p.GetColumn()), Path: p.GetPath(), Message: p.GetMessage(),
		})
	}
	return out
}
