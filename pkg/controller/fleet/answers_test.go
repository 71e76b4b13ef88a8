package fleet_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestDoctorOfNodeThatNeverJoined says how it joins, not to look at an agent that is not there.
func TestDoctorOfNodeThatNeverJoined(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	l.await("there is a head", func() bool { return l.ledger.Head().Revision != "" })
	rows, err := l.fleet().Doctor(t.Context(), &ktrdrv1.DoctorRequest{Nodes: []string{"gpu"}})
	must(t, err)
	row, err := rows.Recv()
	must(t, err)
	if c := row.GetCheck(); c.GetName() != "node-answers" || !strings.Contains(c.GetFix(), "ktrdrctl node join-token gpu") {
		t.Errorf("row %v", row)
	}
	if _, err := rows.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the only row: %v", err)
	}
}

// TestLogsOfUnknownService is a mistake in the name, not a silent service.
func TestLogsOfUnknownService(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	l.agent(&agenttest.Agent{Name: "a", Services: func(string) []*ktrdrv1.ServiceStatus { return []*ktrdrv1.ServiceStatus{{Service: "web"}} }})
	l.await("a has told of its service", func() bool {
		n, _ := l.hub.Node("a")
		stacks := n.Status.Message().GetStacks()
		return len(stacks) > 0 && len(stacks[0].GetServices()) > 0
	})
	stream, err := l.fleet().Logs(t.Context(), &ktrdrv1.LogsRequest{Logs: &ktrdrv1.LogsCommand{Stack: "core", Services: []string{"wep"}}})
	must(t, err)
	if _, err = stream.Recv(); status.Code(err) != codes.NotFound || status.Convert(err).Message() != `stack core has no service "wep": it has web` {
		t.Errorf("logs of a service that nobody has: %v", err)
	}
}

// TestEventsOfUnknownNode is a mistake in the name, not a quiet node.
func TestEventsOfUnknownNode(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	l.await("there is a head", func() bool { return l.ledger.Head().Revision != "" })
	for name, want := range map[string]codes.Code{"gpu": codes.OK, "": codes.OK, "zz": codes.NotFound} {
		events, err := l.fleet().Events(t.Context(), &ktrdrv1.EventsRequest{Nodes: []string{name}, Limit: 10})
		must(t, err)
		for err == nil {
			_, err = events.Recv()
		}
		if got := status.Code(err); errors.Is(err, io.EOF) != (want == codes.OK) || want != codes.OK && got != want {
			t.Errorf("events of %q: %v, want %s", name, err, want)
		}
	}
}
