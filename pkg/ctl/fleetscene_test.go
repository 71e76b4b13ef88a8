package ctl_test

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }

// nodeOf is a connected node with one stack.
func nodeOf(name string, now time.Time, stack string, change func(*plan.Plan)) *ktrdrv1.Node {
	p := corePlan(change)
	p.Status.Name = stack
	st := api.NodeStatus{
		Node: name, Version: "0.3.0", Time: now, Ready: true, Revision: revision, Engine: api.Engine{Reachable: true, Version: "28.5"},
		Stacks: []api.StackStatus{p.Status},
	}
	return &ktrdrv1.Node{
		Name: name, Hostname: "workers-" + name + ".example", Connected: true, Seen: timestamppb.New(now.Add(-2 * time.Second)), Address: "10.0.0.9", Version: "0.3.0",
		Target: revision, Accepted: true, Joined: true, Desired: true, Status: wire.NodeStatusToProto(st),
		Pools:           []*ktrdrv1.PoolSize{{Pool: "training", Node: name, Count: 1}},
		CertificateEnds: timestamppb.New(now.Add(20*24*time.Hour + time.Hour)), StatusAt: timestamppb.New(now.Add(-3 * time.Second)),
	}
}

// play puts the fleet into a scene.
func (f *fakeFleet) play(scene string, now time.Time) error {
	node := func(name string, change func(*plan.Plan)) *ktrdrv1.Node { return nodeOf(name, now, "workers", change) }
	var err error
	f.change(func() {
		core := nodeOf("a", now, "core", nil)
		f.fleet = &ktrdrv1.Fleet{
			Name: "home", Time: timestamppb.New(now), Version: "0.3.0",
			Head:    &ktrdrv1.Commit{Revision: revision, Subject: "scale backtest on b to 3", Time: timestamppb.New(now.Add(-2 * time.Hour))},
			Rollout: &ktrdrv1.Rollout{Revision: revision, Phase: "succeeded", Started: timestamppb.New(now.Add(-3 * time.Minute)), Ended: timestamppb.New(now.Add(-2 * time.Minute))},
			Nodes:   []*ktrdrv1.Node{core, node("b", nil)},
		}
		switch scene {
		case "converged":
		case "empty":
			f.fleet = &ktrdrv1.Fleet{Name: "home", Time: timestamppb.New(now), Version: "0.3.0"}
		case "offline": // scenario 12: gpu is away
			gpu := node("gpu", nil)
			gpu.Connected, gpu.Seen, gpu.Accepted = false, timestamppb.New(now.Add(-90*time.Minute)), false
			f.fleet.Nodes = append(f.fleet.Nodes, gpu)
			f.fleet.Rollout = rolloutScene("failed-unreachable")
		case "troubles":
			f.troubles(now, node)
		case "rollout":
			f.fleet.Rollout = rolloutScene("running")
			f.fleet.Nodes[1].Accepted, f.fleet.Nodes[1].Target = false, newRevision
		case "rolledback":
			f.fleet.Nodes[1] = node("b", rolledBack)
			f.fleet.Rollout = rolloutScene("failed")
		case "controller":
			f.fleet.Conditions = []*ktrdrv1.Condition{{Type: "Degraded", Status: true, Reason: "SourceUnreachable", Message: "the remote does not answer"}}
		case "ambiguous": // a node that is called like a service
			f.fleet.Nodes = append(f.fleet.Nodes, node("backend", nil))
		case "older": // one that does not know how to plan a folder
			f.refuse["PlanTree"] = status.Error(codes.Unimplemented, "unknown method PlanTree")
		case "no-renewal":
			f.refuse["RenewAccess"] = status.Error(codes.Unimplemented, "unknown method RenewAccess")
		case "lost": // goes away with the request
			f.refuse["Deploy"] = status.Error(codes.Unavailable, "transport is closing")
		case "old-scale":
			f.fleet.Version = "v0.0.1"
		case "large", "large-parts": // more than a message holds
			f.parts = scene == "large-parts"
			f.enlarge(now)
		case "invalid":
			delete(f.refuse, "PlanTree")
			f.refuse["valid"] = errors.New("no such stack")
		case "rollout-running", "rollout-succeeded", "rollout-failed", "rollout-replaced", "rollout-unreachable", "rollout-notjoined", "rollout-progress":
			f.rollout = rolloutScene(map[string]string{
				"rollout-running": "running", "rollout-succeeded": "succeeded", "rollout-failed": "failed", "rollout-replaced": "replaced",
				"rollout-unreachable": "failed-unreachable", "rollout-notjoined": "succeeded-notjoined", "rollout-progress": "progress",
			}[scene])
			if scene == "rollout-failed" {
				f.fleet.Nodes[1] = node("b", rolledBack)
			}
		default:
			err = f.playStream(scene)
		}
	})
	return err
}

func (f *fakeFleet) troubles(now time.Time, node func(string, func(*plan.Plan)) *ktrdrv1.Node) {
	f.fleet.Nodes[1] = node("b", blocked)
	f.fleet.Nodes[1].Cordon = &ktrdrv1.CordonState{By: "karl", Why: "new disk", At: timestamppb.New(now)}
	refused := node("c", nil)
	refused.Accepted, refused.Refused = false, &ktrdrv1.Condition{Type: "Blocked", Status: true, Reason: "PolicyViolation", Message: "privileged is not allowed"}
	f.fleet.Time = timestamppb.New(now.Add(-10 * time.Minute))
	f.fleet.Nodes = append(f.fleet.Nodes, refused,
		&ktrdrv1.Node{Name: "e", Desired: true},
		&ktrdrv1.Node{Name: "f", Joined: true, Connected: true, Seen: timestamppb.New(now)})
	f.fleet.Conditions = []*ktrdrv1.Condition{{Type: "Warning", Status: true, Reason: "SourceUnreachable", Message: "\x1b[31mred"}}
}

// rolledBack is a stack whose update failed.
func rolledBack(p *plan.Plan) {
	unconverged(p, api.ReasonRolledBack, "the update failed")
	p.Status.Conditions = []api.Condition{{Type: api.ConditionBlocked, Status: true, Reason: api.ReasonRolledBack, Object: "ktrdr-backend", Message: "exit code 1"}}
	p.Status.Rollout = &api.RolloutStatus{Phase: string(plan.RolledBack), Good: revision, Failed: &api.FailedUpdate{
		Revision: newRevision, Container: "ktrdr-backend", Reason: api.ReasonCrashLoop, Message: "exit code 1", Log: []string{"Traceback:", "  no such table\x1b[2J"},
	}}
}

// rolloutScene is a rollout of two waves.
func rolloutScene(scene string) *ktrdrv1.Rollout {
	progress := func(node, phase string, converged int32) *ktrdrv1.NodeProgress {
		return &ktrdrv1.NodeProgress{Node: node, Phase: phase, Converged: converged, Stacks: 2}
	}
	r := &ktrdrv1.Rollout{Revision: newRevision, Phase: scene, Started: ago(90 * time.Second)}
	core := &ktrdrv1.Wave{Name: "core", Phase: "succeeded", Nodes: []*ktrdrv1.NodeProgress{progress("a", "converged", 2)}}
	rest := &ktrdrv1.Wave{Name: "rest", Phase: "running", Nodes: []*ktrdrv1.NodeProgress{progress("b", "accepted", 1)}}
	r.Waves = []*ktrdrv1.Wave{core, rest}
	b := rest.Nodes[0]
	switch scene {
	case "running":
		core.Phase, rest.Phase, core.Nodes[0].Phase, core.Nodes[0].Converged, b.Phase = "running", "waiting", "sent", 0, "waiting"
	case "progress":
		r.Phase, b.Message = "running", "workers: create-container backtest-worker-3"
	case "succeeded":
		rest.Phase, b.Phase, b.Converged = "succeeded", "converged", 2
	case "succeeded-notjoined": // as the controller tells it
		r.Phase, r.Reason, r.Message = "succeeded", "NotJoined", "not joined, and to get the revision when they do: e"
		rest.Phase, b.Phase, b.Converged = "succeeded", "converged", 2
		absent := progress("e", "unreachable", 0)
		absent.Reason, absent.Message = "NotJoined", "no agent has joined with this name; it gets the revision when one does"
		rest.Nodes = append(rest.Nodes, absent)
	case "failed":
		r.Message, rest.Phase, b.Phase, b.Reason, b.Message = "b: RolledBack", "failed", "failed", "RolledBack", "workers: exit code 1"
	case "replaced":
		r.Message = "replaced by c3c3c3c3c3c3"
	case "failed-unreachable":
		r.Phase, r.Message, rest.Phase = "failed", "gpu was not reached", "failed"
		b.Phase, b.Converged = "converged", 2
		gone := progress("gpu", "unreachable", 0)
		gone.Reason = "Unreachable"
		rest.Nodes = append(rest.Nodes, gone)
	}
	if r.Phase != "running" {
		r.Ended = ago(0)
	}
	return r
}

// playStream queues logs and events.
func (f *fakeFleet) playStream(scene string) error {
	start := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	line := func(node, container string, seconds int, text string) *ktrdrv1.LogLine {
		return &ktrdrv1.LogLine{Node: node, Stack: "workers", Service: container, Container: container, Time: timestamppb.New(start.Add(time.Duration(seconds) * time.Second)), Text: text}
	}
	send := func(lines ...*ktrdrv1.LogLine) {
		f.logs = append(f.logs, &ktrdrv1.LogsResponse{Logs: &ktrdrv1.LogBatch{Lines: lines}})
	}
	switch scene {
	case "logs":
		send(line("b", "w1", 1, "one"), line("b", "w1", 3, "three \x1b]0;title\a"))
		send(line("c", "w1", 2, "two"), line("c", "w2", 4, "four"))
	case "logs-more":
		send(line("b", "w1", 5, "five"))
	case "logs-dropped":
		f.logs = append(f.logs, &ktrdrv1.LogsResponse{Logs: &ktrdrv1.LogBatch{Dropped: 7, Lines: []*ktrdrv1.LogLine{line("b", "w1", 9, "nine")}}})
	case "logs-lost":
		f.logs = append(f.logs, &ktrdrv1.LogsResponse{Node: &ktrdrv1.NodeResult{Node: "b", Reason: "Unreachable", Message: "the connection ended"}})
	case "logs-none":
		f.logs = nil
	case "logs-old":
		f.logs = append(f.logs, &ktrdrv1.LogsResponse{Node: &ktrdrv1.NodeResult{Node: "c", Reason: "CommandUnsupported", Message: "node c: update the agent"}})
	case "events":
		f.events = append(f.events, &ktrdrv1.FleetEvent{Node: "b", Event: &ktrdrv1.Event{Seq: 1, Time: timestamppb.New(start), Level: "error", Stack: "workers", Object: "w1", Reason: "CrashLoopBackOff", Message: "exit code 1"}},
			&ktrdrv1.FleetEvent{Event: &ktrdrv1.Event{Seq: 1, Time: timestamppb.New(start.Add(time.Second)), Level: "info", Reason: "NodeConnected", Message: "node b connected"}})
	case "events-more":
		f.events = append(f.events, &ktrdrv1.FleetEvent{Node: "b", Event: &ktrdrv1.Event{Seq: 2, Time: timestamppb.New(start.Add(2 * time.Second)), Level: "info", Stack: "workers", Reason: "Converged", Message: "as wanted"}})
	default:
		return fmt.Errorf("no scene %q", scene)
	}
	return nil
}
