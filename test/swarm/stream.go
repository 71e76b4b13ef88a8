package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// serve opens a stream and answers until it ends.
func (a *agent) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if a.stream, err = ktrdrv1.NewAgentServiceClient(a.conn).Connect(ctx); err != nil {
		return err
	}
	hello := &ktrdrv1.Hello{Version: "swarm", Platform: "linux/amd64", RunId: "run-" + a.node, SliceDigest: a.slice.GetDigest(), Revision: a.slice.GetRevision()}
	if err := a.send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		return err
	}
	for {
		m, err := a.stream.Recv()
		if err != nil {
			return err
		}
		if err := a.take(m); err != nil {
			return err
		}
	}
}

func (a *agent) send(m *ktrdrv1.AgentMessage) error { return a.stream.Send(m) }

func (a *agent) take(m *ktrdrv1.ControllerMessage) error {
	switch kind := m.GetKind().(type) {
	case *ktrdrv1.ControllerMessage_Welcome:
		a.tell(news{Kind: "connected", Node: a.node})
		if a.slice != nil {
			return a.report()
		}
	case *ktrdrv1.ControllerMessage_Slice:
		return a.begin(kind.Slice)
	case *ktrdrv1.ControllerMessage_Files:
		a.keep(kind.Files.GetChunks())
		if kind.Files.GetLast() && len(a.missing) == 0 {
			return a.complete()
		}
	}
	return nil
}

// keep notes which contents arrived; their bytes are of no use here.
func (a *agent) keep(chunks []*ktrdrv1.FileChunk) {
	for _, c := range chunks {
		sum := [32]byte(c.GetSha256())
		a.have[sum] = true
		delete(a.missing, sum)
	}
}

// begin takes a slice and asks for what it lacks.
func (a *agent) begin(slice *ktrdrv1.Slice) error {
	a.slice, a.missing = slice, map[[32]byte]bool{}
	a.keep(slice.GetContents())
	slice.Contents = nil
	ask := &ktrdrv1.FileRequest{Revision: slice.GetRevision()}
	for _, f := range slice.GetFiles() {
		if sum := [32]byte(f.GetSha256()); !a.have[sum] && f.GetSize() > 0 && !a.missing[sum] {
			a.missing[sum] = true
			ask.Sha256 = append(ask.Sha256, f.GetSha256())
		}
	}
	slice.Files = nil
	if len(a.missing) == 0 {
		return a.complete()
	}
	return a.send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: ask}})
}

// complete tells that a slice is there as a whole, and reports it as converged.
func (a *agent) complete() error {
	a.tell(news{Kind: "slice", Node: a.node, Revision: a.slice.GetRevision()})
	result := &ktrdrv1.SliceResult{Digest: a.slice.GetDigest(), Revision: a.slice.GetRevision(), Accepted: true}
	if err := a.send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: result}}); err != nil {
		return err
	}
	return a.report()
}

func (a *agent) report() error {
	a.seq++
	update := &ktrdrv1.StatusUpdate{Seq: a.seq, SliceDigest: a.slice.GetDigest(), Status: a.status()}
	return a.send(&ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Status{Status: update}})
}

// status is that of a node on which everything runs.
func (a *agent) status() *ktrdrv1.NodeStatus {
	now := timestamppb.New(time.Now())
	stack := &ktrdrv1.StackStatus{Name: "app", Project: "app", Converged: true, Reason: string(api.ReasonConverged)}
	for i := range a.services {
		name := "service-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		stack.Services = append(stack.Services, &ktrdrv1.ServiceStatus{
			Service: name, Container: "app-" + name + "-1", Id: "4daec5ecff0edd3f7186fcc28cdb2995a79c1c3759304181e892479a5f811340",
			Image: "registry.example.org/team/" + name + ":sha-de00001", State: "running", Health: "healthy", Converged: true,
			WantedDigest: "sha256:280228c3686f2f0e5f3cc05a6e6b3d4c0ad1f2a4f4bd9e5f3f3c4d2b1a0f9e8d", ActualDigest: "sha256:280228c3686f2f0e5f3cc05a6e6b3d4c0ad1f2a4f4bd9e5f3f3c4d2b1a0f9e8d",
			Reason: string(api.ReasonConverged), StartedAt: now,
		})
	}
	return &ktrdrv1.NodeStatus{
		Node: a.node, Version: "swarm", Time: now, Ready: true, Revision: a.slice.GetRevision(), SourceRevision: a.slice.GetRevision(),
		Engine: &ktrdrv1.Engine{Reachable: true, Version: "28.5.2", ApiVersion: "1.51", StorageDriver: "overlay2"}, Stacks: []*ktrdrv1.StackStatus{stack},
	}
}
