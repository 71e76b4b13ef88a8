package controllers_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/port"
)

// TestCommandsGoToTheOtherController asks each controller about all nodes, half of which are at
// the other one.
func TestCommandsGoToTheOtherController(t *testing.T) {
	w := newWorldOf(t, leaseOfProduct)
	first := w.forge.push("the first", state())
	w.c[0].start()
	w.c[1].start()
	w.fill(nil)
	w.settle(w.c[0])
	w.settle(w.c[1])
	if here, there := len(w.at(w.c[0])), len(w.at(w.c[1])); here == 0 || there == 0 {
		t.Fatalf("%d agents are at one controller, %d at the other", here, there)
	}
	for i, c := range w.c {
		fleet := w.fleet(c)
		held, err := fleet.Hold(t.Context(), &ktrdrv1.HoldRequest{Stack: "workers", Why: fmt.Sprint("work ", i)})
		must(t, err)
		synced, err := fleet.Sync(t.Context(), &ktrdrv1.SyncRequest{})
		must(t, err)
		for _, r := range held.GetResults() {
			if want := fmt.Sprint("held by operator/admin: work ", i); r.GetReason() != "" || r.GetMessage() != want {
				t.Errorf("hold at %s: %v", c.addr, r)
			}
		}
		for _, r := range synced.GetResults() {
			if r.GetReason() != "" {
				t.Errorf("sync at %s: %v", c.addr, r)
			}
		}
		if len(held.GetResults()) != 5 || len(synced.GetResults()) != 6 {
			t.Errorf("%d nodes held, %d synced", len(held.GetResults()), len(synced.GetResults()))
		}
		w.logs(fleet)
		w.plans(fleet, first)
		w.doctor(fleet)
	}
	w.audited()
	w.stranger()
}

func collect[T any](t testing.TB, stream grpc.ServerStreamingClient[T], err error) []*T {
	t.Helper()
	must(t, err)
	var out []*T
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		out = append(out, m)
	}
}

func (w *world) logs(fleet ktrdrv1.FleetServiceClient) {
	w.t.Helper()
	stream, err := fleet.Logs(w.t.Context(), &ktrdrv1.LogsRequest{Logs: &ktrdrv1.LogsCommand{Stack: "workers"}})
	var lines []string
	for _, m := range collect(w.t, stream, err) {
		if m.GetNode().GetReason() != "" {
			w.t.Errorf("logs: %v", m.GetNode())
		}
		for _, line := range m.GetLogs().GetLines() {
			lines = append(lines, line.GetNode()+": "+line.GetText())
		}
	}
	slices.Sort(lines)
	if len(lines) != 15 || lines[0] != "b: line 0 of b" || lines[14] != "f: line 2 of f" {
		w.t.Errorf("logs: %q", lines)
	}
}

func (w *world) plans(fleet ktrdrv1.FleetServiceClient, head string) {
	w.t.Helper()
	accepted, err := fleet.PlanFleet(w.t.Context(), &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Revision{Revision: head}})
	plans := collect(w.t, accepted, err)
	// A change that only the controller that was asked has a commit of.
	change, err := fleet.PlanFleet(w.t.Context(), &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Scale{Scale: &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "c", Count: 3}}})
	changes := collect(w.t, change, err)
	if len(plans) != 6 || len(changes) != 6 {
		w.t.Errorf("%d and %d plans", len(plans), len(changes))
	}
	for _, p := range append(plans, changes...) {
		if problems := p.GetPlan().GetProblems(); p.GetCondition() != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].GetMessage(), p.GetNode()+" plans ") {
			w.t.Errorf("plan: %v", p)
		}
	}
}

func (w *world) doctor(fleet ktrdrv1.FleetServiceClient) {
	w.t.Helper()
	stream, err := fleet.Doctor(w.t.Context(), &ktrdrv1.DoctorRequest{})
	checked := map[string]bool{}
	for _, m := range collect(w.t, stream, err) {
		if m.GetCheck().GetName() == "engine-version" && m.GetCheck().GetSubject() == m.GetNode() {
			checked[m.GetNode()] = true
		}
	}
	if len(checked) != 6 {
		w.t.Errorf("the doctor was at %v", checked)
	}
}

// audited looks for the trail on both sides: who asked is the operator, who forwarded the
// controller. The other side writes when it has answered.
func (w *world) audited() {
	w.t.Helper()
	access := ktrdrv1.NewAccessServiceClient(w.dial(w.c[0], w.token))
	for _, c := range w.c {
		id, err := os.ReadFile(filepath.Join(c.state, "id"))
		must(w.t, err)
		for _, command := range []string{"hold", "sync", "logs", "plan", "doctor"} {
			want := "controller/" + strings.TrimSpace(string(id)) + " " + command + " for operator/admin"
			await(w.t, "the audit trail has "+want, func() bool {
				list, err := access.ListAudit(w.t.Context(), &ktrdrv1.ListAuditRequest{})
				must(w.t, err)
				return slices.ContainsFunc(list.GetEntries(), func(e *ktrdrv1.AuditEntry) bool {
					return e.GetWhat() == "ControllerService/Forward" && e.GetResult() == "ok" && e.GetRole() == "controller" &&
						strings.HasPrefix(e.GetTarget(), "node=") && e.GetWho()+" "+e.GetDetail() == want
				})
			})
		}
	}
}

// stranger: a controller with an authority of its own does not get in, and an init beside a fleet
// makes nothing.
func (w *world) stranger() {
	w.t.Helper()
	c := &controller{process: &process{t: w.t}, dir: w.t.TempDir(), addr: port.Reserve(w.t), metrics: port.Reserve(w.t)}
	c.config, c.state = filepath.Join(c.dir, "controller.yaml"), filepath.Join(c.dir, "state")
	must(w.t, os.WriteFile(c.config, w.configuration(c), 0o600))
	out, err := c.command("init")
	if err == nil || !strings.Contains(out, "copy ca.crt and ca.key from a controller of this fleet") {
		w.t.Errorf("init beside a fleet: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(c.state, "authority", "ca.key")); err == nil {
		w.t.Error("init beside a fleet has made an authority")
	}
	// One that was made elsewhere.
	alone := filepath.Join(c.dir, "alone.yaml")
	must(w.t, os.WriteFile(alone, fmt.Appendf(nil, "stateDir: %s\nips: [127.0.0.1]\n", filepath.Join(c.dir, "alone")), 0o600))
	other := &controller{process: c.process, config: alone, state: filepath.Join(c.dir, "alone")}
	if out, err := other.command("init"); err != nil {
		w.t.Fatalf("init: %v\n%s", err, out)
	}
	c.copyAuthority(other)
	if out, err := c.command("run"); err == nil || !strings.Contains(out, "the fleet in this store has another authority") || !strings.Contains(out, "ktrdr-controller authority replace") {
		w.t.Errorf("a controller with another authority: %v\n%s", err, out)
	}
	c.copyAuthority(w.c[0])
	if out, err := c.command("init"); err != nil || !strings.Contains(out, "operators stay as they are") {
		w.t.Errorf("init with the fleet's authority: %v\n%s", err, out)
	}
	if w.nodes(w.c[0]) == nil {
		w.t.Error("the admin's token is of no use any more")
	}
}
