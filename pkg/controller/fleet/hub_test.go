package fleet_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

type agentStream = ktrdrv1.AgentService_ConnectClient

// connect opens a stream of a node and says hello.
func (l *lab) connect(ctx context.Context, node string, hello *ktrdrv1.Hello) agentStream {
	l.t.Helper()
	conn, err := l.dial(l.credentials(pki.Node, node))
	must(l.t, err)
	l.t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(ctx, patience)
	l.t.Cleanup(cancel)
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(ctx)
	must(l.t, err)
	must(l.t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: hello}}))
	return stream
}

// receive reads until a message is what is looked for.
func receive[T any](t testing.TB, stream agentStream, pick func(*ktrdrv1.ControllerMessage) T, ok func(T) bool) T {
	t.Helper()
	for {
		m, err := stream.Recv()
		must(t, err)
		if found := pick(m); ok(found) {
			return found
		}
	}
}

func slice(t testing.TB, stream agentStream) *ktrdrv1.Slice {
	t.Helper()
	return receive(t, stream, (*ktrdrv1.ControllerMessage).GetSlice, func(s *ktrdrv1.Slice) bool { return s != nil })
}

// TestNothingOlder: a node comes from another controller while this one's watch is behind. It is
// not sent what it may have had before, but what comes next.
func TestNothingOlder(t *testing.T) {
	l := newLab(t)
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	l.ended(first)
	l.lag.Store(1)
	asked := l.asked.Load()
	stream := l.connect(t.Context(), "b", &ktrdrv1.Hello{Version: "test"})
	l.await("the hub asks how old the newest rollout is", func() bool { return l.asked.Load() > asked })
	second := l.trees.write(t, "second", state(map[string]string{"fleet.yaml": "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: home}\nspec: {}\n"}))
	l.accept(second)
	if s := slice(t, stream); s.GetRevision() != second {
		t.Errorf("the node gets %q, which is older than what it may have", s.GetSubject())
	}
}

// TestNodesGetTheirOwnFilesOnly: a node that asks for the content of another one's file, whose
// digest it may guess, is told that there is none.
func TestNodesGetTheirOwnFilesOnly(t *testing.T) {
	l := newLab(t)
	big := strings.Repeat("x", 2<<20) + "end"
	files := state(map[string]string{"stacks/core/big.txt": big})
	l.accept(l.trees.write(t, "first", files))
	stream := l.connect(t.Context(), "a", &ktrdrv1.Hello{Version: "test"})
	s := slice(t, stream)
	for _, f := range s.GetFiles() {
		if strings.HasPrefix(f.GetPath(), "nodes/") && f.GetPath() != "nodes/a.yaml" || strings.HasPrefix(f.GetPath(), "stacks/workers") {
			t.Errorf("a's slice has %s", f.GetPath())
		}
	}
	foreign, own := sha256.Sum256([]byte(files["nodes/b.yaml"])), sha256.Sum256([]byte(big))
	request := &ktrdrv1.FileRequest{Revision: s.GetRevision(), Sha256: [][]byte{foreign[:], own[:], []byte("short")}}
	must(t, stream.Send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: request}}))
	var got []byte
	var gone [][]byte
	for last := false; !last; {
		b := receive(t, stream, (*ktrdrv1.ControllerMessage).GetFiles, func(b *ktrdrv1.FileBatch) bool { return b != nil })
		for _, c := range b.GetChunks() {
			if string(c.GetSha256()) != string(own[:]) || c.GetOffset() != int64(len(got)) {
				t.Fatalf("chunk of %x at %d", c.GetSha256(), c.GetOffset())
			}
			got = append(got, c.GetContent()...)
		}
		gone, last = append(gone, b.GetGone()...), b.GetLast()
	}
	if string(got) != big || len(gone) != 1 || string(gone[0]) != string(foreign[:]) {
		t.Errorf("got %d bytes; gone: %x", len(got), gone)
	}
}

// TestWhatAgentsMayNotSay ends their stream.
func TestWhatAgentsMayNotSay(t *testing.T) {
	l := newLab(t)
	statusOf := func(node string) *ktrdrv1.AgentMessage {
		return &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Status{Status: &ktrdrv1.StatusUpdate{Seq: 1, Status: &ktrdrv1.NodeStatus{Node: node}}}}
	}
	events := func(count int) *ktrdrv1.AgentMessage {
		b := &ktrdrv1.EventBatch{}
		for i := range count {
			b.Events = append(b.Events, &ktrdrv1.Event{Seq: uint64(i + 1)})
		}
		return &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: b}}
	}
	big := statusOf("a")
	big.GetStatus().Status.Version = strings.Repeat("v", 600<<10)
	for name, c := range map[string]struct {
		send *ktrdrv1.AgentMessage
		want codes.Code
	}{
		"the status of another node": {statusOf("b"), codes.PermissionDenied},
		"a status that is too large": {big, codes.InvalidArgument},
		"too many events":            {events(201), codes.InvalidArgument},
		"hello again":                {&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: &ktrdrv1.Hello{}}}, codes.InvalidArgument},
		"too many contents":          {&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: &ktrdrv1.FileRequest{Sha256: make([][]byte, 10_001)}}}, codes.InvalidArgument},
		"a digest that is none": {
			&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: &ktrdrv1.SliceResult{Digest: "x"}}},
			codes.InvalidArgument,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream := l.connect(t.Context(), "a", &ktrdrv1.Hello{Version: "test"})
			must(t, stream.Send(c.send))
			for {
				if _, err := stream.Recv(); err != nil {
					if status.Code(err) != c.want {
						t.Errorf("the stream ends with %v, want %s", err, c.want)
					}
					return
				}
			}
		})
	}
	if n, _ := l.hub.Node("b"); n.Status != nil {
		t.Error("a node has told the status of another one")
	}
	stream := l.connect(t.Context(), "c", &ktrdrv1.Hello{})
	must(t, stream.Send(&ktrdrv1.AgentMessage{})) // of a newer agent
	must(t, stream.Send(statusOf("c")))
	receive(t, stream, (*ktrdrv1.ControllerMessage).GetStatusAck, func(a *ktrdrv1.StatusAck) bool { return a.GetSeq() == 1 })
}

// TestSecondStreamEndsTheFirst: a node has one.
func TestSecondStreamEndsTheFirst(t *testing.T) {
	l := newLab(t)
	first := l.connect(t.Context(), "a", &ktrdrv1.Hello{Version: "1"})
	receive(t, first, (*ktrdrv1.ControllerMessage).GetWelcome, func(w *ktrdrv1.Welcome) bool { return w != nil })
	second := l.connect(t.Context(), "a", &ktrdrv1.Hello{Version: "2"})
	receive(t, second, (*ktrdrv1.ControllerMessage).GetWelcome, func(w *ktrdrv1.Welcome) bool { return w != nil })
	for {
		if _, err := first.Recv(); err != nil {
			if status.Code(err) != codes.Aborted {
				t.Errorf("the first ends with %v", err)
			}
			break
		}
	}
	l.await("the second counts", func() bool { n, _ := l.hub.Node("a"); return n.Connected && n.Version == "2" })
}

// TestSlowAgentsDelayNobody: agents that read nothing, although there is much to read, hold up
// neither others nor the end.
func TestSlowAgentsDelayNobody(t *testing.T) {
	l := newLab(t)
	var parts []string
	changes := map[string]string{}
	for i := range 8 {
		name := fmt.Sprintf("stacks/workers/f%d.txt", i)
		changes[name] = strings.Repeat(fmt.Sprint(i), 900<<10)
		parts = append(parts, name)
	}
	revision := l.trees.write(t, "big", state(changes))
	for _, name := range []string{"b", "c"} {
		l.connect(t.Context(), name, &ktrdrv1.Hello{Version: "slow"})
	}
	a, gpu := &agenttest.Agent{Name: "a"}, &agenttest.Agent{Name: "gpu"}
	l.agent(a)
	l.agent(gpu)
	l.await("all are connected", func() bool { return l.connected() == 4 })
	l.hub.SetTargets(1<<40, targetsOf(t, l, revision))
	l.await("the others have the revision", func() bool { r, _ := a.Revision(); g, _ := gpu.Revision(); return r == revision && g == revision })
	for _, name := range []string{"b", "c"} {
		if n, _ := l.hub.Node(name); !n.Connected {
			t.Errorf("%s is gone: the others may have waited for that", name)
		}
	}
	if gpu.File(parts[7]) != changes[parts[7]] {
		t.Error("gpu has another content")
	}
}

// TestCommands: outputs and the result come back, a caller that goes ends the command, and a
// node that is away fails at once.
func TestCommands(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	lines := func(c *ktrdrv1.Command, send func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
		for i := range 3 {
			send(&ktrdrv1.CommandOutput{Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{Lines: []*ktrdrv1.LogLine{{Text: fmt.Sprint(i), Node: "somebody else"}}}}})
		}
		return &ktrdrv1.CommandResult{}
	}
	for _, name := range []string{"b", "c"} {
		l.agent(&agenttest.Agent{Name: name, Commands: map[string]func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult{"logs": lines}})
	}
	l.await("both are connected", func() bool { return l.connected() == 2 })
	l.await("the fleet knows the stacks", func() bool { return l.ledger.Head().Revision != "" })
	stream, err := l.fleet().Logs(t.Context(), &ktrdrv1.LogsRequest{Logs: &ktrdrv1.LogsCommand{Stack: "workers", Tail: 10}})
	must(t, err)
	got, failed := map[string]string{}, ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		for _, line := range m.GetLogs().GetLines() {
			got[line.GetNode()] += line.GetText()
		}
		if n := m.GetNode(); n != nil {
			failed += n.GetNode() + " " + n.GetReason()
		}
	}
	if got["b"] != "012" || got["c"] != "012" || len(got) != 2 || failed != "gpu Unreachable" {
		t.Errorf("lines %v, failed %q", got, failed)
	}
	results, err := l.fleet().Hold(t.Context(), &ktrdrv1.HoldRequest{Stack: "workers", Nodes: []string{"b", "gpu"}})
	must(t, err)
	if r := results.GetResults(); len(r) != 2 || r[0].GetReason() != "CommandUnsupported" || r[1].GetReason() != "Unreachable" {
		t.Errorf("results: %v", results)
	}
}

// TestCancelledCommandEndsOnTheNode: the agent is told when the caller goes.
func TestCancelledCommandEndsOnTheNode(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	stream := l.connect(t.Context(), "a", &ktrdrv1.Hello{Commands: []string{"logs"}})
	l.await("it is connected", func() bool { n, _ := l.hub.Node("a"); return n.Connected })
	l.await("the fleet knows the stacks", func() bool { return l.ledger.Head().Revision != "" })
	ctx, cancel := context.WithCancel(t.Context())
	_, err := l.fleet().Logs(ctx, &ktrdrv1.LogsRequest{Logs: &ktrdrv1.LogsCommand{Stack: "core", Follow: true}, Nodes: []string{"a"}})
	must(t, err)
	command := receive(t, stream, (*ktrdrv1.ControllerMessage).GetCommand, func(c *ktrdrv1.Command) bool { return c != nil })
	cancel()
	receive(t, stream, (*ktrdrv1.ControllerMessage).GetCancel, func(c *ktrdrv1.CancelCommand) bool { return c.GetId() == command.GetId() })
}

// TestEvents: each is kept once, however often it is sent.
func TestEvents(t *testing.T) {
	l := newLab(t)
	stream := l.connect(t.Context(), "a", &ktrdrv1.Hello{RunId: "r"})
	batch := &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: &ktrdrv1.EventBatch{Events: []*ktrdrv1.Event{{Seq: 1, Message: "one"}, {Seq: 2, Message: "two"}}}}}
	must(t, stream.Send(batch))
	must(t, stream.Send(batch))
	receive(t, stream, (*ktrdrv1.ControllerMessage).GetEventAck, func(a *ktrdrv1.EventAck) bool { return a.GetSeq() == 2 })
	again := l.connect(t.Context(), "a", &ktrdrv1.Hello{RunId: "r"})
	if w := receive(t, again, (*ktrdrv1.ControllerMessage).GetWelcome, func(w *ktrdrv1.Welcome) bool { return w != nil }); w.GetEventsSeen() != 2 {
		t.Errorf("welcome says that %d events are seen", w.GetEventsSeen())
	}
	events, err := l.fleet().Events(t.Context(), &ktrdrv1.EventsRequest{Nodes: []string{"a"}, Limit: 10})
	must(t, err)
	var got string
	for {
		e, err := events.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		got += e.GetEvent().GetMessage() + " "
	}
	if got != "one two " {
		t.Errorf("events: %q", got)
	}
}
