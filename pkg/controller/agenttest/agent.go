package agenttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/desired"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Outcome is what becomes of a revision on the node.
type Outcome int

// Outcomes.
const (
	Converges Outcome = iota
	RollsBack
	Refuses
	// Hangs: it is accepted and nothing more is said.
	Hangs
	// LacksImage: the registry has no such image, LacksRegistry: it is away. What ran runs on.
	LacksImage
	LacksRegistry
)

// Agent is one node. Its state outlives connections, as a real one's does.
type Agent struct {
	Name string
	Dial func() (*grpc.ClientConn, error)
	// Outcome says what becomes of a revision; nil: all converge.
	Outcome func(revision string) Outcome
	// Commands that the agent knows, with their answer: outputs go to send. nil: none.
	Commands map[string]func(c *ktrdrv1.Command, send func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult
	// Logs answers a logs command until ctx, which ends with the connection or when the command is
	// cancelled; nil: see Commands.
	Logs func(ctx context.Context, c *ktrdrv1.LogsCommand, send func(*ktrdrv1.CommandOutput))
	// Services of a stack that the status tells; nil: none.
	Services func(stack string) []*ktrdrv1.ServiceStatus
	// Pace slows down after each slice, before it is accepted.
	Pace time.Duration

	mu       sync.Mutex
	files    map[string][]byte // by hex digest
	slice    *ktrdrv1.Slice    // in force
	history  []string          // revisions that were accepted
	received int               // slices, accepted or not
	seen     []string          // revisions of slices, accepted or not
	told     []string          // controllers, by the newest Welcome
	at       string            // id of the controller that it is from
	absent   *ktrdrv1.NoSlice  // the newest, nil after a slice
	faults   []string
	links    int
	events   []*ktrdrv1.Event // oldest first; a controller that lacks some gets them
	link     *link
}

// Run connects again and again until ctx ends.
func (a *Agent) Run(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := a.Dial()
		if err == nil {
			l := &link{agent: a, out: make(chan *ktrdrv1.AgentMessage, 64)}
			l.run(ctx, conn)
			_ = conn.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (a *Agent) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

func (a *Agent) outcome(revision string) Outcome {
	if a.Outcome == nil {
		return Converges
	}
	return a.Outcome(revision)
}

// link is one connection.
type link struct {
	agent   *Agent
	out     chan *ktrdrv1.AgentMessage
	pending *ktrdrv1.Slice // waits for contents
	partial map[string][]byte
	seq     uint64
	work    sync.WaitGroup
	// commands are how those that came are cancelled, by id.
	commands map[string]context.CancelFunc
	ctx      context.Context //nolint:containedctx // the connection's
	drop     context.CancelFunc
}

func (l *link) run(ctx context.Context, conn *grpc.ClientConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer l.work.Wait()
	defer cancel()
	l.drop = cancel
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(ctx)
	if err != nil {
		return
	}
	if stream.Send(l.hello()) != nil {
		return
	}
	l.work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case m := <-l.out:
				if stream.Send(m) != nil {
					return
				}
			}
		}
	})
	for {
		m, err := stream.Recv()
		if err != nil {
			return
		}
		l.handle(ctx, m)
	}
}

func (l *link) hello() *ktrdrv1.AgentMessage {
	a := l.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &ktrdrv1.Hello{Version: "test", Platform: "linux/amd64", SliceDigest: a.slice.GetDigest(), Revision: a.slice.GetRevision(), RunId: "run"}
	for name := range a.Commands {
		h.Commands = append(h.Commands, name)
	}
	if a.Logs != nil {
		h.Commands = append(h.Commands, "logs")
	}
	return &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: h}}
}

func (l *link) send(ctx context.Context, m *ktrdrv1.AgentMessage) {
	select {
	case l.out <- m:
	case <-ctx.Done():
	}
}

func (l *link) handle(ctx context.Context, m *ktrdrv1.ControllerMessage) {
	switch kind := m.GetKind().(type) {
	case *ktrdrv1.ControllerMessage_Welcome:
		l.agent.mu.Lock()
		l.agent.links++
		l.agent.told, l.agent.at = kind.Welcome.GetEndpoints(), kind.Welcome.GetController()
		l.ctx, l.agent.link = ctx, l
		has := l.agent.slice != nil
		events := slices.DeleteFunc(slices.Clone(l.agent.events), func(e *ktrdrv1.Event) bool { return e.GetSeq() <= kind.Welcome.GetEventsSeen() })
		l.agent.mu.Unlock()
		l.tell(ctx, events)
		if has {
			l.report(ctx)
		}
	case *ktrdrv1.ControllerMessage_Slice:
		l.pending, l.partial = kind.Slice, map[string][]byte{}
		l.agent.mu.Lock()
		l.agent.received++
		l.agent.absent = nil
		l.agent.seen = append(l.agent.seen, kind.Slice.GetRevision())
		l.agent.mu.Unlock()
		l.take(kind.Slice.GetContents())
		l.proceed(ctx, true)
	case *ktrdrv1.ControllerMessage_Files:
		l.take(kind.Files.GetChunks())
		if kind.Files.GetLast() {
			l.proceed(ctx, false)
		}
	case *ktrdrv1.ControllerMessage_NoSlice:
		l.agent.mu.Lock()
		l.agent.absent = kind.NoSlice
		l.agent.mu.Unlock()
	case *ktrdrv1.ControllerMessage_Command:
		l.begin(ctx, kind.Command)
	case *ktrdrv1.ControllerMessage_Cancel:
		if cancel := l.commands[kind.Cancel.GetId()]; cancel != nil {
			cancel()
		}
	}
}

// take keeps contents that are what they say.
func (l *link) take(chunks []*ktrdrv1.FileChunk) {
	a := l.agent
	for _, c := range chunks {
		key := hex.EncodeToString(c.GetSha256())
		if int64(len(l.partial[key])) != c.GetOffset() {
			a.fault("chunk of %s at %d, not %d", key, c.GetOffset(), len(l.partial[key]))
			continue
		}
		l.partial[key] = append(l.partial[key], c.GetContent()...)
		if sum := sha256.Sum256(l.partial[key]); hex.EncodeToString(sum[:]) == key {
			a.mu.Lock()
			if a.files == nil {
				a.files = map[string][]byte{}
			}
			a.files[key] = l.partial[key]
			a.mu.Unlock()
		}
	}
}

// proceed accepts the pending slice when all contents are there.
func (l *link) proceed(ctx context.Context, ask bool) { //nolint:revive // the first look asks, the second one must not
	a, s := l.agent, l.pending
	if s == nil {
		return
	}
	if a.Pace > 0 {
		time.Sleep(a.Pace) //nolint:forbidigo // a slow node
	}
	request := &ktrdrv1.FileRequest{Revision: s.GetRevision()}
	var files []desired.File
	a.mu.Lock()
	for _, f := range s.GetFiles() {
		key := hex.EncodeToString(f.GetSha256())
		files = append(files, desired.File{Path: f.GetPath(), Mode: fs.FileMode(f.GetMode()), Size: f.GetSize(), SHA256: key})
		if _, ok := a.files[key]; !ok {
			request.Sha256 = append(request.Sha256, f.GetSha256())
		}
	}
	a.mu.Unlock()
	switch {
	case desired.SliceDigest(files) != s.GetDigest():
		a.fault("slice %s has another digest than it says", s.GetRevision())
		return
	case len(request.GetSha256()) > 0 && ask:
		l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: request}})
		return
	case len(request.GetSha256()) > 0:
		return // a newer one is on its way
	}
	l.checkFiles(files)
	l.pending = nil
	l.accept(ctx, s)
}

// checkFiles: a node must never see another one's file.
func (l *link) checkFiles(files []desired.File) {
	for _, f := range files {
		if strings.HasPrefix(f.Path, "nodes/") && f.Path != "nodes/"+l.agent.Name+".yaml" {
			l.agent.fault("got %s", f.Path)
		}
	}
}

func (l *link) accept(ctx context.Context, s *ktrdrv1.Slice) {
	a := l.agent
	result := &ktrdrv1.SliceResult{Digest: s.GetDigest(), Revision: s.GetRevision(), Accepted: true}
	if a.outcome(s.GetRevision()) == Refuses {
		result.Accepted, result.Reason, result.Message = false, "PolicyViolation", "not on this node"
	} else {
		a.mu.Lock()
		a.slice = s
		a.history = append(a.history, s.GetRevision())
		a.mu.Unlock()
	}
	l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: result}})
	if result.GetAccepted() {
		l.report(ctx)
	}
}

// report sends the status that the outcome of the slice in force makes.
func (l *link) report(ctx context.Context) {
	a := l.agent
	a.mu.Lock()
	s := a.slice
	a.mu.Unlock()
	outcome := a.outcome(s.GetRevision())
	if outcome == Hangs {
		return
	}
	status := &ktrdrv1.NodeStatus{Node: a.Name, Version: "test", Ready: true, Time: timestamppb.Now(), Revision: s.GetRevision()}
	stacks := map[string]bool{}
	for _, f := range s.GetFiles() {
		if parts := strings.Split(f.GetPath(), "/"); parts[0] == "stacks" && !stacks[parts[1]] {
			stacks[parts[1]] = true
			st := stackStatus(parts[1], s.GetRevision(), outcome)
			if a.Services != nil {
				st.Services = a.Services(parts[1])
			}
			status.Stacks = append(status.Stacks, st)
		}
	}
	a.mu.Lock()
	l.seq++
	seq := l.seq
	a.mu.Unlock()
	l.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Status{Status: &ktrdrv1.StatusUpdate{Seq: seq, Status: status, SliceDigest: s.GetDigest()}}})
}
