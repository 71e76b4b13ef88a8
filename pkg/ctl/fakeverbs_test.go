package ctl_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/plans"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const newRevision = "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"

func peerState(ctx context.Context) tls.ConnectionState {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return info.State
		}
	}
	return tls.ConnectionState{}
}

// changed answers a change; outcome is what its rollout comes to.
func (f *fakeFleet) changes(dry bool, summary string) (*ktrdrv1.ChangeResponse, error) {
	r := &ktrdrv1.ChangeResponse{
		Summary: []string{summary}, Nodes: []string{"a", "b"}, Diff: "--- a/nodes/b.yaml\n+++ b/nodes/b.yaml\n@@ -1 +1 @@\n-  backtest: 1\n+  backtest: 3\n",
		Warnings: []*ktrdrv1.Problem{{File: "nodes/b.yaml", Line: 9, Column: 5, Path: "spec.capacity.memory", Message: "14G of 14336M are taken"}},
	}
	if !dry {
		r.Revision = newRevision
		f.change(func() {
			if f.rollout == nil {
				f.rollout = rolloutScene("running")
			}
		})
	}
	return r, nil
}

func (f *fakeFleet) Scale(_ context.Context, req *ktrdrv1.ScaleRequest) (*ktrdrv1.ChangeResponse, error) {
	if req.GetNode() == "c" || len(req.GetSizes()) > 4 {
		st, _ := status.New(codes.FailedPrecondition, "the state would be invalid").WithDetails(&ktrdrv1.Refusal{
			Reason:   "DesiredStateInvalid",
			Problems: []*ktrdrv1.Problem{{File: "nodes/c.yaml", Line: 7, Column: 5, Path: "spec.capacity.memory", Message: "14G are wanted, node c has 6G"}},
		})
		return nil, st.Err()
	}
	if len(req.GetSizes()) > 0 {
		return f.changes(req.GetDryRun(), fmt.Sprintf("scale %d pools", len(req.GetSizes())))
	}
	return f.changes(req.GetDryRun(), fmt.Sprintf("scale %s on %s to %d", req.GetPool(), req.GetNode(), req.GetCount()))
}

func (f *fakeFleet) Deploy(_ context.Context, req *ktrdrv1.DeployRequest) (*ktrdrv1.ChangeResponse, error) {
	return f.changes(req.GetDryRun(), fmt.Sprintf("deploy %s %s to %s", req.GetStack(), strings.Join(req.GetServices(), ","), req.GetTag()))
}

func (f *fakeFleet) Rollback(_ context.Context, req *ktrdrv1.RollbackRequest) (*ktrdrv1.ChangeResponse, error) {
	return f.changes(req.GetDryRun(), "back to "+req.GetRevision())
}

func (f *fakeFleet) PlanFleet(req *ktrdrv1.PlanFleetRequest, s grpc.ServerStreamingServer[ktrdrv1.NodePlan]) error {
	if req.GetRevision() == "done" {
		return s.Send(&ktrdrv1.NodePlan{Node: "b", Plan: &ktrdrv1.PlanResult{Plans: []*ktrdrv1.StackPlan{plans.ToProto(corePlan(nil))}}})
	}
	if err := s.Send(&ktrdrv1.NodePlan{Node: "gpu", Condition: &ktrdrv1.Condition{Type: "Degraded", Status: true, Reason: "Unreachable", Message: "its agent is not connected"}}); err != nil {
		return err
	}
	return s.Send(&ktrdrv1.NodePlan{Node: "b", Plan: &ktrdrv1.PlanResult{Plans: []*ktrdrv1.StackPlan{plans.ToProto(corePlan(progressing))}}})
}

func (f *fakeFleet) Diff(_ context.Context, req *ktrdrv1.DiffRequest) (*ktrdrv1.DiffResponse, error) {
	if req.GetFrom() == req.GetTo() && req.GetFrom() != "" {
		return &ktrdrv1.DiffResponse{}, nil
	}
	return &ktrdrv1.DiffResponse{Diff: "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\x1b[31m\n+b\n", Truncated: req.GetTo() == "big"}, nil
}

func (f *fakeFleet) results(nodes []string) (*ktrdrv1.NodeResults, error) {
	if len(nodes) == 0 {
		nodes = []string{"a", "b"}
	}
	r := &ktrdrv1.NodeResults{}
	for _, n := range nodes {
		one := &ktrdrv1.NodeResult{Node: n}
		if n == "gpu" {
			one.Reason, one.Message = "Unreachable", "its agent is not connected"
		}
		r.Results = append(r.Results, one)
	}
	return r, nil
}

func (f *fakeFleet) Hold(_ context.Context, req *ktrdrv1.HoldRequest) (*ktrdrv1.NodeResults, error) {
	return f.results(req.GetNodes())
}

func (f *fakeFleet) Resume(_ context.Context, req *ktrdrv1.ResumeRequest) (*ktrdrv1.NodeResults, error) {
	return f.results(req.GetNodes())
}

func (f *fakeFleet) Sync(_ context.Context, req *ktrdrv1.SyncRequest) (*ktrdrv1.NodeResults, error) {
	return f.results(req.GetNodes())
}

func (f *fakeFleet) History(_ context.Context, req *ktrdrv1.HistoryRequest) (*ktrdrv1.HistoryResponse, error) {
	all := []*ktrdrv1.Commit{
		{Revision: newRevision, Subject: "scale backtest on b to 3", Author: "Karl <karl@example.org>", Time: ago(time.Minute), By: "operator/karl", Outcome: "failed", Message: "b: RolledBack"},
		{Revision: revision, Subject: "first \x1b]0;title\a", Author: "Karl <karl@example.org>", Time: ago(48 * time.Hour), Outcome: "succeeded"},
	}
	if req.GetBefore() == newRevision {
		all = all[1:]
	}
	n := min(int(req.GetLimit()), len(all), 1) // pages of one
	return &ktrdrv1.HistoryResponse{Commits: all[:n], More: n < len(all)}, nil
}

func (f *fakeFleet) Doctor(req *ktrdrv1.DoctorRequest, s grpc.ServerStreamingServer[ktrdrv1.NodeCheck]) error {
	for _, row := range []*ktrdrv1.NodeCheck{
		{Check: &ktrdrv1.Check{Name: "repository", Result: "ok", Message: "read"}},
		{Node: "b", Check: &ktrdrv1.Check{Name: "engine-version", Result: "ok", Message: "28.5"}},
		{Node: "b", Check: &ktrdrv1.Check{Name: "disk", Subject: "/var/lib/docker", Result: "warn", Message: "1.5G free", Fix: "make room"}},
		{Node: "gpu", Check: &ktrdrv1.Check{Name: "connected", Result: "fail", Message: "its agent is not connected", Fix: "systemctl status ktrdr-agent"}},
	} {
		if len(req.GetNodes()) > 0 && row.GetNode() != req.GetNodes()[0] {
			continue
		}
		if err := s.Send(row); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeFleet) References(_ context.Context, req *ktrdrv1.ReferencesRequest) (*ktrdrv1.ReferencesResponse, error) {
	if fleet, _, _ := f.snapshot(); len(fleet.GetNodes()) == 0 {
		return &ktrdrv1.ReferencesResponse{}, nil
	}
	well := secretsWell()
	well.Node = "a"
	r := &ktrdrv1.ReferencesResponse{Nodes: []*ktrdrv1.SecretsStatus{wire.SecretsStatusToProto(*well)}}
	if len(req.GetNodes()) == 0 {
		failing := secretsFailing()
		r.Nodes = append(r.Nodes, wire.SecretsStatusToProto(*failing))
		r.Failed = []*ktrdrv1.NodeResult{{Node: "gpu", Reason: "Unreachable", Message: "its agent is not connected"}}
	}
	return r, nil
}

// Logs sends what the script queued; the rest while it follows.
func (f *fakeFleet) Logs(req *ktrdrv1.LogsRequest, s grpc.ServerStreamingServer[ktrdrv1.LogsResponse]) error {
	ended := map[string]bool{}
	for sent := 0; ; {
		f.mu.Lock()
		queued, changed := f.logs, f.changed
		f.mu.Unlock()
		for ; sent < len(queued); sent++ {
			a := queued[sent]
			if len(req.GetNodes()) == 1 && a.GetNode().GetReason() == "Unreachable" {
				continue // it is asked alone: it is there again
			}
			var node string
			if lines := a.GetLogs().GetLines(); len(lines) > 0 {
				node = lines[0].GetNode()
			}
			if node != "" && (len(req.GetNodes()) == 1 && node != req.GetNodes()[0] || ended[node]) {
				continue
			}
			ended[a.GetNode().GetNode()] = true
			if len(req.GetNodes()) == 1 && ended[req.GetNodes()[0]] {
				return s.Send(a)
			}
			if err := s.Send(a); err != nil {
				return err
			}
		}
		if !req.GetLogs().GetFollow() {
			return nil
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
	}
}

func (f *fakeFleet) Events(req *ktrdrv1.EventsRequest, s grpc.ServerStreamingServer[ktrdrv1.FleetEvent]) error {
	for sent := 0; ; {
		f.mu.Lock()
		queued, changed := f.events, f.changed
		f.mu.Unlock()
		for ; sent < len(queued); sent++ {
			if err := s.Send(queued[sent]); err != nil {
				return err
			}
		}
		if !req.GetFollow() {
			return nil
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
	}
}

func (f *fakeFleet) ListNodes(context.Context, *ktrdrv1.ListNodesRequest) (*ktrdrv1.ListNodesResponse, error) {
	fleet, _, _ := f.snapshot()
	for _, n := range fleet.GetNodes() {
		n.Status = nil
	}
	return &ktrdrv1.ListNodesResponse{Nodes: fleet.GetNodes()}, nil
}

func (f *fakeFleet) CreateJoinToken(_ context.Context, req *ktrdrv1.CreateJoinTokenRequest) (*ktrdrv1.CreateJoinTokenResponse, error) {
	return &ktrdrv1.CreateJoinTokenResponse{
		JoinToken: "join-token-of-" + req.GetNode(), Expires: timestamppb.New(time.Now().Add(time.Duration(req.GetTtlSeconds()) * time.Second)),
	}, nil
}

func (f *fakeFleet) Cordon(context.Context, *ktrdrv1.CordonRequest) (*ktrdrv1.CordonResponse, error) {
	return &ktrdrv1.CordonResponse{}, nil
}

func (f *fakeFleet) Uncordon(context.Context, *ktrdrv1.UncordonRequest) (*ktrdrv1.UncordonResponse, error) {
	return &ktrdrv1.UncordonResponse{}, nil
}

func (f *fakeFleet) RemoveNode(context.Context, *ktrdrv1.RemoveNodeRequest) (*ktrdrv1.RemoveNodeResponse, error) {
	return &ktrdrv1.RemoveNodeResponse{}, nil
}

func (f *fakeFleet) WhoAmI(ctx context.Context, _ *ktrdrv1.WhoAmIRequest) (*ktrdrv1.WhoAmIResponse, error) {
	f.mu.Lock()
	hangs := f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &ktrdrv1.WhoAmIResponse{Kind: "operator", Name: "karl", Role: "admin", By: "token", Expires: timestamppb.New(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))}, nil
}

func (f *fakeFleet) ListOperators(context.Context, *ktrdrv1.ListOperatorsRequest) (*ktrdrv1.ListOperatorsResponse, error) {
	return &ktrdrv1.ListOperatorsResponse{Operators: []*ktrdrv1.Operator{
		{Name: "ci", Role: "operator", Created: ago(72 * time.Hour), CreatedBy: "karl", Expires: ago(time.Hour)},
		{Name: "karl", Email: "karl@example.org", Role: "admin", Created: ago(72 * time.Hour), Seen: ago(time.Minute)},
	}}, nil
}

func (f *fakeFleet) CreateOperator(_ context.Context, req *ktrdrv1.CreateOperatorRequest) (*ktrdrv1.CreateOperatorResponse, error) {
	r := &ktrdrv1.CreateOperatorResponse{Authority: f.authority.BundleDER()}
	if len(req.GetCsr()) == 0 {
		r.AccessToken = "ktrdro." + req.GetOperator().GetRole() + ".planted-secret"
		return r, nil
	}
	issued, err := f.authority.IssueOperator(req.GetOperator().GetName(), req.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	r.Chain = issued.Chain
	return r, nil
}

func (f *fakeFleet) RemoveOperator(context.Context, *ktrdrv1.RemoveOperatorRequest) (*ktrdrv1.RemoveOperatorResponse, error) {
	return &ktrdrv1.RemoveOperatorResponse{}, nil
}

func (f *fakeFleet) ListAudit(_ context.Context, req *ktrdrv1.ListAuditRequest) (*ktrdrv1.ListAuditResponse, error) {
	if req.GetBefore() == "older" {
		return &ktrdrv1.ListAuditResponse{Entries: []*ktrdrv1.AuditEntry{{
			At: timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), Who: "operator/eve", Role: "viewer", What: "Scale", Target: "b", From: "10.0.0.7", Result: "PermissionDenied", Detail: "takes operator",
		}}}, nil
	}
	return &ktrdrv1.ListAuditResponse{Next: "older", Entries: []*ktrdrv1.AuditEntry{{
		At: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Who: "operator/karl", Role: "admin", What: "git push", Target: "main", From: "10.0.0.5", Result: "ok",
	}}}, nil
}
