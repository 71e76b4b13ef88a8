package uplinktest

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// stream is one connection of an agent.
type stream struct {
	out  chan *ktrdrv1.ControllerMessage
	done chan struct{}
	cut  func()
}

func identity(ctx context.Context) (pki.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return pki.Identity{}, errors.New("no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return pki.Identity{}, errors.New("no TLS")
	}
	return pki.IdentityOf(info.State)
}

// Connect implements the contract.
func (c *Controller) Connect(server grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]) error {
	if _, err := identity(server.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(server.Context())
	defer cancel()
	hello, err := c.receive(ctx, server, "")
	if err != nil {
		return err
	}
	s := &stream{out: make(chan *ktrdrv1.ControllerMessage, 64), done: make(chan struct{}), cut: cancel}
	run := hello.GetHello().GetRunId()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer close(s.done)
	var seen uint64
	c.change(func(st *state) {
		for _, e := range st.events[run] {
			seen = max(seen, e.GetSeq())
		}
		slice := st.slice
		if slice.GetDigest() == hello.GetHello().GetSliceDigest() {
			slice = nil
		}
		// What has to come first is queued before anybody else can send.
		s.out <- &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Welcome{Welcome: &ktrdrv1.Welcome{
			Version: "test", Controller: "test-controller", EventsSeen: seen,
		}}}
		if slice != nil {
			s.out <- sliceMessage(slice)
		}
		c.stream = s
		st.connected = true
		st.streams++
	})
	defer c.change(func(st *state) {
		if c.stream == s {
			c.stream, st.connected = nil, false
		}
	})
	wg.Go(func() {
		defer cancel()
		c.send(ctx, server, s)
	})
	return c.serve(ctx, server, s, run)
}

func sliceMessage(s *ktrdrv1.Slice) *ktrdrv1.ControllerMessage {
	return &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Slice{Slice: s}}
}

func (c *Controller) send(ctx context.Context, server grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage], s *stream) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.out:
			c.mu.Lock()
			c.state.sent++
			n, fault := c.state.sent, c.fault
			c.mu.Unlock()
			if fault != nil && fault(ctx, n, m) != nil {
				return
			}
			if server.Send(m) != nil {
				return
			}
		}
	}
}

func (c *Controller) receive(ctx context.Context, server grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage], run string) (*ktrdrv1.AgentMessage, error) {
	type received struct {
		m   *ktrdrv1.AgentMessage
		err error
	}
	// Recv ends with the call, which returns when ctx ends.
	got := make(chan received, 1)
	go func() {
		m, err := server.Recv()
		got <- received{m, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-got:
		if r.err != nil {
			return nil, r.err
		}
		c.mu.Lock()
		c.state.got++
		n, heard := c.state.got, c.heard
		c.mu.Unlock()
		if heard != nil {
			if err := heard(ctx, n, r.m); err != nil {
				return nil, err
			}
		}
		return r.m, c.note(r.m, run)
	}
}

func (c *Controller) serve(ctx context.Context, server grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage], s *stream, run string) error {
	for {
		m, err := c.receive(ctx, server, run)
		if err != nil {
			return err
		}
		for _, answer := range c.answers(m) {
			select {
			case s.out <- answer:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// answers are what the contract has the controller answer.
func (c *Controller) answers(m *ktrdrv1.AgentMessage) []*ktrdrv1.ControllerMessage {
	switch kind := m.GetKind().(type) {
	case *ktrdrv1.AgentMessage_Status:
		return []*ktrdrv1.ControllerMessage{{Kind: &ktrdrv1.ControllerMessage_StatusAck{
			StatusAck: &ktrdrv1.StatusAck{Seq: kind.Status.GetSeq()},
		}}}
	case *ktrdrv1.AgentMessage_Events:
		list := kind.Events.GetEvents()
		return []*ktrdrv1.ControllerMessage{{Kind: &ktrdrv1.ControllerMessage_EventAck{
			EventAck: &ktrdrv1.EventAck{Seq: list[len(list)-1].GetSeq()},
		}}}
	case *ktrdrv1.AgentMessage_FileRequest:
		return c.files(kind.FileRequest)
	}
	return nil
}

// partSize is small, so that files travel in several parts.
const partSize = 1000

func (c *Controller) files(r *ktrdrv1.FileRequest) []*ktrdrv1.ControllerMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*ktrdrv1.ControllerMessage
	add := func(b *ktrdrv1.FileBatch) {
		out = append(out, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Files{Files: b}})
	}
	var gone [][]byte
	for _, sum := range r.GetSha256() {
		content, ok := c.state.contents[string(sum)]
		if !ok {
			gone = append(gone, sum)
			continue
		}
		for at := 0; at < len(content); at += partSize {
			add(&ktrdrv1.FileBatch{Chunks: []*ktrdrv1.FileChunk{{
				Sha256: sum, Offset: int64(at), Content: content[at:min(len(content), at+partSize)],
			}}})
		}
	}
	add(&ktrdrv1.FileBatch{Last: true, Gone: gone})
	return out
}

// keepContent makes a content available for FileRequest.
func (s *state) keepContent(content []byte) []byte {
	sum := sha256.Sum256(content)
	s.contents[string(sum[:])] = content
	return sum[:]
}
