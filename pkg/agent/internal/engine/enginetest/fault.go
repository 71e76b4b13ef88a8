package enginetest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// power is whether the engine answers. changed is closed and replaced at each change.
type power struct {
	down, hung bool
	changed    chan struct{}
}

func (f *Fake) setPower(down, hung bool) { //nolint:revive // both are state, not modes
	f.power.down, f.power.hung = down, hung
	close(f.power.changed)
	f.power.changed = make(chan struct{})
}

// awaitPower returns when the engine answers, or the error of one that doesn't.
func (f *Fake) awaitPower(ctx context.Context, req request) error {
	for {
		f.mu.Lock()
		p := f.power
		f.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return f.ended(ctx, req)
		case p.down:
			return f.explain(req, refuse(engine.ErrUnreachable, "connection refused"))
		case !p.hung:
			return nil
		}
		select {
		case <-ctx.Done():
		case <-p.changed:
		}
	}
}

// ended is the error of a call whose context ended.
func (f *Fake) ended(ctx context.Context, req request) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return f.explain(req, refuse(engine.ErrTimeout, "no answer"))
	}
	return &engine.Error{Op: req.op, Object: req.object, Class: api.Transient, Reason: api.ReasonEngineFailed, Err: ctx.Err()}
}

// wait blocks until done is closed, the engine goes away, or ctx ends.
func (f *Fake) wait(ctx context.Context, req request, done <-chan struct{}) error {
	for {
		f.mu.Lock()
		p := f.power
		f.mu.Unlock()
		if p.down {
			return f.explain(req, refuse(engine.ErrUnreachable, "unexpected EOF"))
		}
		select {
		case <-done:
			return f.awaitPower(ctx, req)
		case <-ctx.Done():
			return f.ended(ctx, req)
		case <-p.changed:
		}
	}
}

// Crash kills the engine: calls fail, event streams end. Processes live on.
func (f *Fake) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPower(true, false)
	f.endStreams()
	f.bus.past = nil
}

// Hang stops the engine as SIGSTOP does: calls get no answer until Resume.
func (f *Fake) Hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPower(f.power.down, true)
}

// Resume ends Hang.
func (f *Fake) Resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPower(f.power.down, false)
	f.flushStreams()
}

// Boot is what an engine does with the processes that it finds when it starts.
type Boot int

const (
	// StopAll ends what runs, which counts as stopped by hand: `unless-stopped` stays
	// exited, `always` comes back.
	StopAll Boot = iota
	// LiveRestore keeps processes as they are.
	LiveRestore
)

// Recover starts a crashed engine again.
func (f *Fake) Recover(boot Boot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setPower(false, f.power.hung)
	for _, c := range f.sorted() {
		f.restore(c, boot)
	}
}

// Reboot ends every process and the engine, and starts the engine again: containers come
// back by their restart policies, in no order that Compose knows.
func (f *Fake) Reboot() {
	f.Crash()
	f.mu.Lock()
	for _, c := range f.sorted() {
		if c.running || c.restarting {
			f.exit(c, 255)
		}
	}
	f.mu.Unlock()
	f.Recover(LiveRestore)
}

func (f *Fake) restore(c *container, boot Boot) {
	switch {
	case c.restarting:
		f.setStopped(c, c.exitCode)
	case c.running && boot == LiveRestore:
		f.monitorHealth(c)
		return
	case c.running:
		c.manual = true
		f.emitContainer(c, "kill", "signal", "15")
		f.end(c, c.program.TermCode)
		f.emitContainer(c, "die", "exitCode", strconv.Itoa(c.exitCode))
		f.emitContainer(c, "stop")
	}
	if !c.started.IsZero() && c.wantsRestart(atBoot) {
		// What can't be started stays as it is, with the error recorded.
		_ = f.start(c)
	}
}

// Freeze makes inspections of one container hang until Thaw, as those of one do that was
// started on a dead share. object is its name or id.
func (f *Fake) Freeze(object string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, err := f.find(object); err == nil && c.thawed == nil {
		c.thawed = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (f *Fake) Thaw(object string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, err := f.find(object); err == nil && c.thawed != nil {
		close(c.thawed)
		c.thawed = nil
	}
}

// HangMount makes starts of containers that bind below path hang, and inspections of
// these from then on.
func (f *Fake) HangMount(path string) { f.setFlag(f.hungMounts, path, true) }

// HealMount ends HangMount for starts to come; Thaw frees what hangs.
func (f *Fake) HealMount(path string) { f.setFlag(f.hungMounts, path, false) }

// RemovePath says that a host path does not exist: binds that do not create it fail.
func (f *Fake) RemovePath(path string) { f.setFlag(f.missing, path, true) }

// MakePath ends RemovePath.
func (f *Fake) MakePath(path string) { f.setFlag(f.missing, path, false) }

// OccupyPort has a process outside of the engine listen on "8080/tcp".
func (f *Fake) OccupyPort(port string) { f.setFlag(f.busyPorts, port, true) }

// FreePort ends OccupyPort.
func (f *Fake) FreePort(port string) { f.setFlag(f.busyPorts, port, false) }

func (f *Fake) setFlag(m map[string]bool, key string, value bool) { //nolint:revive // a setter
	f.mu.Lock()
	defer f.mu.Unlock()
	m[key] = value
}

// Calls returns how often each method was called since ResetCalls.
func (f *Fake) Calls() map[string]int {
	counts := map[string]int{}
	for _, c := range f.History() {
		counts[c.Method]++
	}
	return counts
}

// History returns the calls since ResetCalls in the order of their arrival.
func (f *Fake) History() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// ResetCalls empties History.
func (f *Fake) ResetCalls() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
