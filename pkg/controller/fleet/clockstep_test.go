package fleet_test

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestEventsOfANodeWithAClockStep: events of a node whose clock was set back come in the order
// in which they happened, none is missing, and the newest ones are those that a limit leaves.
func TestEventsOfANodeWithAClockStep(t *testing.T) {
	l := newLab(t)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	event := func(seq uint64, minutes int, message string) *ktrdrv1.Event {
		return &ktrdrv1.Event{Seq: seq, Time: timestamppb.New(noon.Add(time.Duration(minutes) * time.Minute)), Message: message}
	}
	connect := func(node, run string) ktrdrv1.AgentService_ConnectClient {
		return l.connect(t.Context(), node, &ktrdrv1.Hello{RunId: run})
	}
	tell := func(stream ktrdrv1.AgentService_ConnectClient, events ...*ktrdrv1.Event) {
		must(t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: &ktrdrv1.EventBatch{Events: events}}}))
		last := events[len(events)-1].GetSeq()
		receive(t, stream, (*ktrdrv1.ControllerMessage).GetEventAck, func(a *ktrdrv1.EventAck) bool { return a.GetSeq() == last })
	}
	ask := func(limit int32, follow bool) ktrdrv1.FleetService_EventsClient {
		stream, err := l.fleet().Events(t.Context(), &ktrdrv1.EventsRequest{Nodes: []string{"a", "b"}, Limit: limit, Follow: follow})
		must(t, err)
		return stream
	}
	next := func(stream ktrdrv1.FleetService_EventsClient, count int) (got []string) {
		for range count {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return got
			}
			must(t, err)
			got = append(got, e.GetEvent().GetMessage())
		}
		return got
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	a, b := connect("a", "r1"), connect("b", "r")
	tell(b, event(1, -30, "b1"), event(2, 1, "b2"))
	tell(a, event(10, 0, "a1"), event(11, 2, "a2"), event(12, -60, "a3"), event(13, -59, "a4"))

	want("all", next(ask(100, false), 100), "b1", "a1", "b2", "a2", "a3", "a4")
	want("the newest", next(ask(2, false), 100), "a3", "a4")
	following := ask(1, true)
	want("followed", next(following, 1), "a4")
	tell(a, event(14, -58, "a5"))
	want("followed after the step", next(following, 1), "a5")
	tell(connect("a", "r2"), event(10_013, -57, "a6")) // numbers go on across a restart
	want("followed after a restart", next(following, 1), "a6")
	tell(b, event(3, 0, "b3"))
	want("followed, of a node beside it", next(following, 1), "b3")
}
