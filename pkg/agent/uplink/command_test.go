package uplink_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func logsCommand(m *ktrdrv1.LogsCommand) *ktrdrv1.Command {
	return &ktrdrv1.Command{Kind: &ktrdrv1.Command_Logs{Logs: m}}
}

func holdCommand(stack string, h *ktrdrv1.Hold) *ktrdrv1.Command {
	return &ktrdrv1.Command{By: "operator/ada", Kind: &ktrdrv1.Command_Hold{Hold: &ktrdrv1.HoldCommand{Stack: stack, Hold: h}}}
}

func TestShortCommands(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	if r := c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Sync{Sync: &ktrdrv1.SyncCommand{}}}).Result; r.GetReason() != "" || n.synced != 1 {
		t.Errorf("sync: %v, %d", r, n.synced)
	}
	until := time.Now().Add(time.Hour)
	if r := c.Command(t, holdCommand("core", &ktrdrv1.Hold{Until: timestamppb.New(until), Why: "repair\x1b[2J"})).Result; r.GetReason() != "" {
		t.Errorf("hold: %v", r)
	}
	if h := n.held["core"]; h == nil || h.Who != "operator/ada" || h.Why != "repair [2J" || !h.Until.Equal(until) || h.Since.IsZero() {
		t.Errorf("held %+v", h)
	}
	if r := c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Resume{Resume: &ktrdrv1.ResumeCommand{Stack: "core"}}}).Result; r.GetReason() != "" || n.held["core"] != nil {
		t.Errorf("resume: %v, %v", r, n.held)
	}
	if r := c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Secrets{Secrets: &ktrdrv1.SecretsCommand{}}}).Result; r.GetSecrets().GetReferences()[0].GetReference() != "op://v/i/f" {
		t.Errorf("secrets: %v", r)
	}
	for reason, m := range map[string]*ktrdrv1.Command{
		"Unsupported":      {},
		"InvalidCommand":   holdCommand("core", &ktrdrv1.Hold{}),
		"InvalidCommand 2": holdCommand("nowhere", &ktrdrv1.Hold{Why: "x"}),
		"InvalidCommand 3": holdCommand("core", &ktrdrv1.Hold{Why: "x", Until: timestamppb.New(time.Now().Add(-time.Minute))}),
		"InvalidCommand 4": holdCommand("core", &ktrdrv1.Hold{Why: strings.Repeat("x", 501)}),
		"InvalidCommand 5": logsCommand(&ktrdrv1.LogsCommand{Tail: 10_001}),
		"InvalidCommand 6": {Kind: &ktrdrv1.Command_Resume{Resume: &ktrdrv1.ResumeCommand{Stack: "x"}}},
		"Unsupported 2":    {Kind: &ktrdrv1.Command_Doctor{Doctor: &ktrdrv1.DoctorCommand{}}},
		"DeadlineExceeded": {Deadline: timestamppb.New(time.Now().Add(-time.Minute)), Kind: &ktrdrv1.Command_Sync{Sync: &ktrdrv1.SyncCommand{}}},
	} {
		want, _, _ := strings.Cut(reason, " ")
		if r := c.Command(t, m).Result; r.GetReason() != want || r.GetMessage() == "" {
			t.Errorf("%s: %v", reason, r)
		}
	}
}

func TestPlanOfAnotherSlice(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	inForce := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(inForce)
	n := run(t, c, options{})
	c.AwaitResult(t, inForce.GetDigest(), true)
	plan := func(s *ktrdrv1.Slice) *ktrdrv1.CommandResult {
		return c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{Slice: s}}}).Result
	}
	other := c.SliceOf(map[string]string{"fleet.yaml": "2", "more": big("more")})
	other.Contents = []*ktrdrv1.FileChunk{{Sha256: other.GetFiles()[0].GetSha256(), Content: []byte("2")}}
	r := plan(other)
	if r.GetReason() != "" || r.GetPlan().GetPlans()[0].GetRevision() != other.GetRevision() || n.planned["fleet.yaml"] != "2" || n.planned["more"] != big("more") {
		t.Errorf("plan: %v of %d files", r, len(n.planned))
	}
	requests := c.Requests()
	if last := requests[len(requests)-1]; len(last.GetSha256()) != 1 || last.GetRevision() != other.GetRevision() {
		t.Errorf("asked for %v, want only what was not enclosed", last)
	}
	if r := plan(nil); r.GetPlan().GetPlans()[0].GetStack() != "core" {
		t.Errorf("plan of the state in force: %v", r)
	}
	if r := plan(c.SliceOf(map[string]string{"bad": "x"})); len(r.GetPlan().GetProblems()) != 1 || r.GetPlan().GetProblems()[0].GetMessage() != "is bad: [redacted]" {
		t.Errorf("plan of a bad state: %v", r)
	}
	broken := c.SliceOf(map[string]string{"x": "y"})
	broken.Digest = inForce.GetDigest()
	if r := plan(broken); r.GetReason() != "InvalidCommand" {
		t.Errorf("plan of a broken slice: %v", r)
	}
	for _, tree := range n.accepts() {
		if tree.Revision.Digest != inForce.GetDigest() {
			t.Errorf("accepted %+v", tree.Revision)
		}
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	n.mu.Lock()
	for i := range 5000 {
		n.lines = append(n.lines, uplink.LogLine{Stack: "core", Service: "db", Container: "core-db-1", Time: time.Unix(1, int64(i)), Text: fmt.Sprint(i, " ", strings.Repeat("x", 300))})
	}
	n.mu.Unlock()
	a := c.Command(t, logsCommand(&ktrdrv1.LogsCommand{Tail: -1}))
	if len(a.Logs) != 5000 || a.Dropped != 0 || a.Result.GetReason() != "" {
		t.Fatalf("%d lines, %d dropped, %v", len(a.Logs), a.Dropped, a.Result)
	}
	for i, line := range a.Logs {
		if !strings.HasPrefix(line.GetText(), fmt.Sprint(i, " ")) || line.GetService() != "db" || line.GetTime().AsTime().Nanosecond() != i {
			t.Fatalf("line %d is %v", i, line)
		}
	}
	if r := c.Command(t, logsCommand(&ktrdrv1.LogsCommand{Stack: "broken"})).Result; r.GetReason() != "CommandFailed" || r.GetMessage() != "the engine says [redacted]" {
		t.Errorf("broken engine: %v", r)
	}
	n.mu.Lock()
	n.lines = nil
	n.mu.Unlock()
	id := c.Begin(t, logsCommand(&ktrdrv1.LogsCommand{Follow: true}))
	n.live <- uplink.LogLine{Text: "live"}
	c.AwaitAnswer(t, id, "a live line", func(a *uplinktest.Answer) bool { return len(a.Logs) == 1 })
	c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Cancel{Cancel: &ktrdrv1.CancelCommand{Id: id}}})
	c.AwaitAnswer(t, id, "the end", func(a *uplinktest.Answer) bool { return a.Result.GetReason() == "Canceled" })
	id = c.Begin(t, &ktrdrv1.Command{
		Deadline: timestamppb.New(time.Now().Add(200 * time.Millisecond)), Kind: &ktrdrv1.Command_Logs{Logs: &ktrdrv1.LogsCommand{Follow: true}},
	})
	c.AwaitAnswer(t, id, "the deadline", func(a *uplinktest.Answer) bool { return a.Result.GetReason() == "DeadlineExceeded" })
}

func TestAtMostEightCommands(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	var ids []string
	for range 8 {
		ids = append(ids, c.Begin(t, logsCommand(&ktrdrv1.LogsCommand{Follow: true})))
	}
	if r := c.Command(t, logsCommand(&ktrdrv1.LogsCommand{})).Result; r.GetReason() != "TooManyCommands" {
		t.Errorf("the ninth: %v", r)
	}
	n.change(func() { n.status.Ready = true })
	c.AwaitStatus(t, "status beside logs", func(u *ktrdrv1.StatusUpdate) bool { return u.GetStatus().GetReady() })
	c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Cancel{Cancel: &ktrdrv1.CancelCommand{Id: ids[0]}}})
	c.AwaitAnswer(t, ids[0], "the end", func(a *uplinktest.Answer) bool { return a.Result != nil })
	if r := c.Command(t, logsCommand(&ktrdrv1.LogsCommand{})).Result; r.GetReason() != "" {
		t.Errorf("after one has ended: %v", r)
	}
}

// TestSlowReaderLosesLiveLines: while the controller reads slowly, new lines are left out
// and counted; old ones are not.
func TestSlowReaderLosesLiveLines(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitStatus(t, "a status", func(*ktrdrv1.StatusUpdate) bool { return true })
	release := make(chan struct{})
	c.SetHeard(func(ctx context.Context, _ int, m *ktrdrv1.AgentMessage) error {
		if m.GetOutput() != nil {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	id := c.Begin(t, logsCommand(&ktrdrv1.LogsCommand{Follow: true}))
	future := time.Now().Add(time.Hour)
	sent := uint64(0)
	for range 8000 {
		n.live <- uplink.LogLine{Time: future, Text: strings.Repeat("x", 1000)}
		sent++
	}
	close(release)
	n.live <- uplink.LogLine{Time: future, Text: "mark"}
	c.AwaitAnswer(t, id, "all lines or their number", func(a *uplinktest.Answer) bool {
		return uint64(len(a.Logs))+a.Dropped >= sent
	})
	a := c.Answer(id)
	if a.Dropped == 0 || len(a.Logs) == 0 {
		t.Errorf("%d lines, %d dropped", len(a.Logs), a.Dropped)
	}
}

type doctor struct{}

func (doctor) Check(_ context.Context, req uplink.DoctorRequest, emit func(api.Check)) error {
	emit(api.Check{Name: "engine", Result: api.CheckOK, Message: fmt.Sprint("canary: ", req.Canary, " tree: ", exists(req.Dir+"/fleet.yaml"))})
	emit(api.Check{Name: "disk", Subject: "of " + secretText, Result: api.CheckFail, Message: "full of " + secretText, Fix: "not " + secretText})
	return nil
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	run(t, c, options{doctor: doctor{}})
	c.AwaitConnected(t, true)
	a := c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Doctor{Doctor: &ktrdrv1.DoctorCommand{
		Canary: true, Slice: c.SliceOf(map[string]string{"fleet.yaml": "1"}),
	}}})
	if len(a.Checks) != 2 || a.Checks[0].GetMessage() != "canary: true tree: true" || a.Checks[1].GetMessage() != "full of [redacted]" || a.Result.GetReason() != "" {
		t.Errorf("%+v", a)
	}
}
