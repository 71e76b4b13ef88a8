package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxCommands is how many commands may be under way.
	maxCommands = 8
	// maxWaiting is how many commands may be under way or wait to be answered; more are ignored.
	maxWaiting = 64
	// maxDuration bounds a command without a deadline, such as logs that are followed.
	maxDuration = 24 * time.Hour
)

// Reasons of command results. The others are those of the source and the engine.
const (
	reasonUnsupported = "Unsupported"
	reasonInvalid     = "InvalidCommand"
	reasonBusy        = "TooManyCommands"
	reasonDeadline    = "DeadlineExceeded"
	reasonCanceled    = "Canceled"
	reasonFailed      = "CommandFailed"
)

// problem is a failure with its reason.
type problem struct{ reason, message string }

func (p *problem) Error() string { return p.message }

func refuse(reason, format string, args ...any) error {
	return &problem{reason, fmt.Sprintf(format, args...)}
}

var errCanceled = &problem{reasonCanceled, "the command was cancelled"}

// commands runs the commands of one session, each in a goroutine of its own.
type commands struct {
	s  *session
	wg sync.WaitGroup
	// planning bounds what a slice is assembled for.
	planning chan struct{}

	mu      sync.Mutex
	running map[string]context.CancelCauseFunc
	waiting int
}

func newCommands(s *session) *commands {
	return &commands{s: s, planning: make(chan struct{}, 2), running: map[string]context.CancelCauseFunc{}}
}

// known are the commands that are supported, by the names of the fields in Command.
func (l *Link) known() []string {
	list := []string{"sync", "hold", "resume", "logs", "plan", "secrets"}
	if l.cfg.Doctor != nil {
		list = append(list, "doctor")
	}
	return list
}

// start begins a command. One that can't be begun ends at once.
func (c *commands) start(ctx context.Context, m *ktrdrv1.Command) {
	id := m.GetId()
	if id == "" || len(id) > maxName {
		c.s.link.cfg.Log.WarnContext(ctx, "a command without a usable id is ignored")
		return
	}
	if !c.enter() {
		c.s.link.cfg.Log.WarnContext(ctx, "a command is ignored: the controller does not read the answers to those before", "id", clean(id, maxName))
		return
	}
	limit := time.Now().Add(maxDuration)
	if at := wire.Time(m.GetDeadline()); !at.IsZero() && at.Before(limit) {
		limit = at
	}
	timed, stop := context.WithDeadline(ctx, limit)
	run, cancel := context.WithCancelCause(timed)
	err := c.register(id, cancel)
	c.wg.Go(func() {
		defer c.leave()
		defer stop()
		defer cancel(nil)
		result := &ktrdrv1.CommandResult{}
		if err == nil {
			err = c.run(run, m, result)
			// Before the answer, so that who has it may ask for the next command at once.
			c.forget(id)
		}
		result.Id = id
		result.Reason, result.Message = c.explain(run, err)
		c.out(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Result{Result: result}})
	})
}

func (c *commands) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting >= maxWaiting {
		return false
	}
	c.waiting++
	return true
}

func (c *commands) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
}

// register fails when there are too many already.
func (c *commands) register(id string, cancel context.CancelCauseFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.running[id] != nil:
		return refuse(reasonInvalid, "a command with this id is under way")
	case len(c.running) >= maxCommands:
		return refuse(reasonBusy, "%d commands are under way on this node; try again when one has ended", maxCommands)
	}
	c.running[id] = cancel
	return nil
}

func (c *commands) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, id)
}

func (c *commands) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.running[id]; cancel != nil {
		cancel(errCanceled)
	}
}

// end waits for all commands, whose contexts have ended.
func (c *commands) end() { c.wg.Wait() }

// out queues what belongs to a command, in its order.
func (c *commands) out(ctx context.Context, m *ktrdrv1.AgentMessage) {
	select {
	case c.s.output <- m:
	case <-ctx.Done():
	}
}

// explain turns an error into a reason and a sentence.
func (c *commands) explain(ctx context.Context, err error) (reason, message string) {
	if err == nil {
		return "", ""
	}
	if p, ok := errors.AsType[*problem](context.Cause(ctx)); ok {
		return p.reason, p.message
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return reasonDeadline, "the command did not end before its deadline; when that happens at once, compare the clocks of node and controller"
	}
	if p, ok := errors.AsType[*problem](err); ok {
		return p.reason, p.message
	}
	if r := source.ReasonOf(err); r != "" {
		return string(r), err.Error()
	}
	return reasonFailed, err.Error()
}

// run runs a command and fills in its result.
func (c *commands) run(ctx context.Context, m *ktrdrv1.Command, result *ktrdrv1.CommandResult) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	backend := c.s.link.cfg.Backend
	switch kind := m.GetKind().(type) {
	case *ktrdrv1.Command_Sync:
		return backend.Sync(ctx)
	case *ktrdrv1.Command_Hold:
		return c.hold(kind.Hold, m.GetBy())
	case *ktrdrv1.Command_Resume:
		return c.resume(kind.Resume)
	case *ktrdrv1.Command_Secrets:
		result.Kind = &ktrdrv1.CommandResult_Secrets{Secrets: wire.SecretsStatusToProto(backend.Secrets())}
		return nil
	case *ktrdrv1.Command_Plan:
		plans, err := c.plan(ctx, kind.Plan)
		if err == nil {
			result.Kind = &ktrdrv1.CommandResult_Plan{Plan: plans}
		}
		return err
	case *ktrdrv1.Command_Doctor:
		return c.doctor(ctx, m.GetId(), kind.Doctor)
	case *ktrdrv1.Command_Logs:
		return c.logs(ctx, m.GetId(), kind.Logs)
	}
	return refuse(reasonUnsupported, "this version of the agent does not know the command; update the agent")
}
