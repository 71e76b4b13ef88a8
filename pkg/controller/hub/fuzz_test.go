package hub_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// mute is a stream of node a whose agent says what it is given, and whose answers nobody reads.
type mute struct {
	grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]

	ctx  context.Context //nolint:containedctx // a stream has one
	says chan *ktrdrv1.AgentMessage
}

func (m *mute) Context() context.Context { return m.ctx }

func (m *mute) Send(*ktrdrv1.ControllerMessage) error { return m.ctx.Err() }

func (m *mute) Recv() (*ktrdrv1.AgentMessage, error) {
	if message, ok := <-m.says; ok {
		return message, nil
	}
	return nil, io.EOF
}

// forgetful keeps the newest status of each node.
type forgetful struct {
	mu   sync.Mutex
	kept map[string][]byte
}

func (*forgetful) Connect(context.Context, store.Connection) error { return nil }

func (*forgetful) Disconnect(context.Context, string, time.Time) error { return nil }

func (f *forgetful) PutStatus(_ context.Context, s store.Status) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept[s.Node] = s.Data
	return nil
}

// nothing has no revision.
type nothing struct{}

func (nothing) Tree(context.Context, string) (source.Tree, error) {
	return source.Tree{}, errors.New("no such revision")
}

// FuzzAgent lets an agent say anything that is a message, in the middle of a command: the hub
// goes on, and what it knows of node a is all that changes.
func FuzzAgent(f *testing.F) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, m := range []*ktrdrv1.AgentMessage{
		{Kind: &ktrdrv1.AgentMessage_Hello{Hello: &ktrdrv1.Hello{Version: "1"}}},
		{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: &ktrdrv1.SliceResult{Digest: digest, Accepted: true}}},
		{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: &ktrdrv1.SliceResult{Digest: digest, Reason: "x", Message: "y"}}},
		{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: &ktrdrv1.FileRequest{Revision: "r", Sha256: [][]byte{nil, make([]byte, 32)}}}},
		{Kind: &ktrdrv1.AgentMessage_Status{Status: &ktrdrv1.StatusUpdate{Seq: 1, SliceDigest: digest, Status: &ktrdrv1.NodeStatus{
			Node: "a", Stacks: []*ktrdrv1.StackStatus{{Name: "core", Services: []*ktrdrv1.ServiceStatus{{Service: "web", Container: "web"}}}},
		}}}},
		{Kind: &ktrdrv1.AgentMessage_Status{Status: &ktrdrv1.StatusUpdate{Seq: 1, Status: &ktrdrv1.NodeStatus{Node: "b"}}}},
		{Kind: &ktrdrv1.AgentMessage_Events{Events: &ktrdrv1.EventBatch{Events: []*ktrdrv1.Event{{Seq: 1 << 63}, {Seq: 2}}}}},
		{Kind: &ktrdrv1.AgentMessage_Output{Output: &ktrdrv1.CommandOutput{Id: "1", Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{Dropped: 1 << 63, Lines: []*ktrdrv1.LogLine{{Node: "b"}}}}}}},
		{Kind: &ktrdrv1.AgentMessage_Result{Result: &ktrdrv1.CommandResult{Id: "1"}}},
		{},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	memory := &forgetful{kept: map[string][]byte{}}
	h, err := hub.New(hub.Config{
		Controller: "c1", Shelf: slicing.NewShelf(nothing{}), Memory: memory, StatusInterval: 1, KeepInterval: 1,
		Caller: func(context.Context) (string, error) { return "a", nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	h.SetTargets(1, map[string]rollout.Target{"a": {Revision: "r", Digest: digest}, "b": {Revision: "r", Digest: digest}})
	f.Fuzz(func(t *testing.T, data []byte) {
		message := &ktrdrv1.AgentMessage{}
		if proto.Unmarshal(data, message) != nil {
			return
		}
		talk(t, h, message)
		if _, known := h.Node("b"); known {
			t.Fatal("node a has told something of node b")
		}
		if a, _ := h.Node("a"); a.Status != nil && a.Status.Message().GetNode() != "a" {
			t.Fatalf("node a's status is about %q", a.Status.Message().GetNode())
		}
		memory.mu.Lock()
		defer memory.mu.Unlock()
		for node, kept := range memory.kept {
			if node != "a" {
				t.Fatalf("something is kept of node %q", node)
			}
			if err := hub.DecodeNode(kept, &hub.Node{Name: "a"}); err != nil {
				t.Fatalf("what is kept can't be read: %v", err)
			}
		}
	})
}

// talk connects node a, gives it a command, lets it say message, and hangs up.
func talk(t *testing.T, h *hub.Hub, message *ktrdrv1.AgentMessage) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m := &mute{ctx: ctx, says: make(chan *ktrdrv1.AgentMessage)}
	var running sync.WaitGroup
	running.Go(func() { _ = h.Connect(m) })
	say := func(message *ktrdrv1.AgentMessage) {
		select {
		case m.says <- message:
		case <-ctx.Done():
			t.Error("the hub does not listen any more")
		}
	}
	say(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: &ktrdrv1.Hello{Commands: []string{"logs"}}}})
	say(&ktrdrv1.AgentMessage{}) // the greeting is through
	call, hangUp := context.WithCancel(ctx)
	running.Go(func() {
		_, _ = h.Run(call, hub.Request{Node: "a", Name: "logs", Command: &ktrdrv1.Command{}, Output: func(out *ktrdrv1.CommandOutput) error {
			for _, line := range out.GetLogs().GetLines() {
				if line.GetNode() != "a" {
					t.Errorf("node a tells lines of node %q", line.GetNode())
				}
			}
			return nil
		}})
	})
	say(message)
	close(m.says)
	hangUp()
	running.Wait()
}

// FuzzKept reads anything as what another controller has kept of a node.
func FuzzKept(f *testing.F) {
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"Version":"1","Digest":"sha256:a","Refused":{"Digest":"x"},"StatusAt":"2026-01-01T00:00:00Z"}` + "\n\x0a\x01a"))
	f.Add([]byte(`{"Size":524288,"StatusAt":"2026-01-01T00:00:00Z"}` + "\nx"))
	f.Add([]byte("null"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = hub.DecodeNode(data, &hub.Node{Name: "a"}) })
}
