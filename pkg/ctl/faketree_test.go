package ctl_test

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/wire/plans"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (f *fakeFleet) Validate(s grpc.ClientStreamingServer[ktrdrv1.TreeChunk, ktrdrv1.ValidateResponse]) error {
	size := 0
	for {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		size += len(chunk.GetContent())
	}
	return s.SendAndClose(f.checked(size))
}

func (f *fakeFleet) checked(size int) *ktrdrv1.ValidateResponse {
	r := &ktrdrv1.ValidateResponse{Warnings: []*ktrdrv1.Problem{{File: "fleet.yaml", Line: 1, Column: 1, Message: fmt.Sprintf("%t", size > 1000)}}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse["valid"] != nil {
		r.Problems = []*ktrdrv1.Problem{{File: "nodes/b.yaml", Line: 5, Column: 3, Path: "spec.stacks", Message: f.refuse["valid"].Error()}}
		return r
	}
	r.Diff, r.Nodes = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", []string{"a", "b"}
	return r
}

func (f *fakeFleet) PlanTree(s grpc.BidiStreamingServer[ktrdrv1.PlanTreeRequest, ktrdrv1.PlanTreeResponse]) error {
	size := 0
	for {
		part, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		size += len(part.GetContent())
	}
	checked := f.checked(size)
	if err := s.Send(&ktrdrv1.PlanTreeResponse{Kind: &ktrdrv1.PlanTreeResponse_Checked{Checked: checked}}); err != nil || len(checked.GetProblems()) > 0 {
		return err
	}
	for _, p := range []*ktrdrv1.NodePlan{
		{Node: "gpu", Condition: &ktrdrv1.Condition{Type: "Degraded", Status: true, Reason: "Unreachable", Message: "its agent is not connected"}},
		{Node: "b", Plan: &ktrdrv1.PlanResult{Plans: []*ktrdrv1.StackPlan{plans.ToProto(corePlan(progressing))}}},
	} {
		if err := s.Send(&ktrdrv1.PlanTreeResponse{Kind: &ktrdrv1.PlanTreeResponse_Plan{Plan: p}}); err != nil {
			return err
		}
	}
	return nil
}
