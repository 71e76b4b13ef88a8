package enginetest

import (
	"context"
	"strconv"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// firstPid is above the kernel's largest, so that no test takes a real process for one
// of the fake's.
const firstPid = 5_000_000

// Start starts a container; one that runs is fine.
func (f *Fake) Start(ctx context.Context, id string) error {
	req := request{"Start", id, "start container"}
	if err := f.enter(ctx, req); err != nil {
		return err
	}
	f.mu.Lock()
	f.hangOnMount(id)
	f.mu.Unlock()
	if err := f.awaitThaw(ctx, req, id); err != nil {
		return err
	}
	f.mu.Lock()
	err := f.startByHand(id)
	f.mu.Unlock()
	return f.leave(req, err)
}

func (f *Fake) startByHand(id string) error {
	c, err := f.find(id)
	switch {
	case err != nil:
		return err
	case c.paused:
		return refuse(engine.ErrConflict, "cannot start a paused container, try unpause instead")
	case c.running && !c.restarting:
		return nil
	}
	c.manual = false
	c.delay = 0
	return f.start(c)
}

// start runs the process of c, or records why that is impossible. f.mu is held.
func (f *Fake) start(c *container) error {
	if err := f.prepare(c); err != nil {
		f.release(c)
		c.running, c.restarting = false, false
		c.errText = err.Error()
		c.exitCode = startFailureCode(c.exitCode, err)
		return err
	}
	c.gen++
	f.pids++
	c.running, c.restarting, c.paused = true, false, false
	c.pid, c.exitCode, c.oom, c.errText = firstPid+f.pids, 0, false, ""
	c.started = f.now()
	c.exited = make(chan struct{})
	for _, name := range c.networkNames() {
		f.emitEndpoint(c, name, "connect")
	}
	f.emitContainer(c, "start")
	c.program = f.programOf(c)
	if c.program.Log != "" {
		c.logs = append(c.logs, c.program.Log)
	}
	c.files[ready] = ""
	if c.program.Exits {
		gen := c.gen
		f.after(c.program.After, func() {
			if c.gen == gen {
				f.exit(c, c.program.Code)
			}
		})
	}
	c.health = api.HealthNone
	f.monitorHealth(c)
	return nil
}

// startFailureCode is what the engine records for a process that it could not start: 127
// when a file is missing, else 128 unless there is a code already.
func startFailureCode(before int, err error) int {
	switch {
	case strings.Contains(err.Error(), "no such file or directory"):
		return 127
	case before == 0:
		return 128
	default:
		return before
	}
}

func (f *Fake) programOf(c *container) Program {
	if f.Program != nil {
		return f.Program(f.view(c))
	}
	return Interpret(argv(&c.spec))
}

// end is what happens to c when its process is gone, without a word to anybody.
func (f *Fake) end(c *container, code int) {
	c.gen++
	f.release(c)
	f.setStopped(c, code)
	close(c.exited)
}

// exit ends the process of c as the engine sees it. f.mu is held.
func (f *Fake) exit(c *container, code int) {
	if !c.running || c.restarting {
		return
	}
	f.end(c, code)
	restart := !f.power.down && c.wantsRestart(afterExit)
	if restart {
		f.planRestart(c)
	}
	// Newer engines tell of a stop before the death, older ones after it.
	if f.rng.IntN(2) == 0 {
		c.tellEnd()
	}
	f.emitContainer(c, "die", "exitCode", strconv.Itoa(code))
	for _, name := range c.networkNames() {
		f.emitEndpoint(c, name, "disconnect")
	}
	c.tellEnd()
}

// tellEnd tells, once, those who wait for the end of the process.
func (c *container) tellEnd() {
	for _, do := range c.onExit {
		do()
	}
	c.onExit = nil
}

// Stop ends a container with its stop signal, and with SIGKILL after the grace period.
// One that does not run, or is gone, is fine.
func (f *Fake) Stop(ctx context.Context, r engine.StopRequest) error {
	req := request{"Stop", r.ID, "stop container"}
	if err := f.enter(ctx, req); err != nil {
		return err
	}
	f.mu.Lock()
	done, err := f.stop(r)
	f.mu.Unlock()
	if err != nil {
		return f.leave(req, nil)
	}
	if err := f.wait(ctx, req, done); err != nil {
		return err
	}
	return f.leave(req, nil)
}

// stop fails only when the container does not exist.
func (f *Fake) stop(r engine.StopRequest) (<-chan struct{}, error) {
	c, err := f.find(r.ID)
	if err != nil {
		return nil, err
	}
	if !c.running {
		return c.exited, nil
	}
	c.manual = true
	if c.restarting {
		c.gen++
		f.setStopped(c, c.exitCode)
		f.emitContainer(c, "stop")
		return c.exited, nil
	}
	c.onExit = append(c.onExit, func() { f.emitContainer(c, "stop") })
	done, gen := c.exited, c.gen
	f.signal(c, signalOf(c, r.Signal))
	f.after(graceOf(c, r.Grace), func() {
		if c.gen == gen {
			f.signal(c, "KILL")
		}
	})
	return done, nil
}

// Restart stops and starts a container.
func (f *Fake) Restart(ctx context.Context, r engine.StopRequest) error {
	req := request{"Restart", r.ID, "restart container"}
	if err := f.enter(ctx, req); err != nil {
		return err
	}
	f.mu.Lock()
	done, err := f.stop(r)
	f.mu.Unlock()
	if err == nil {
		if err := f.wait(ctx, req, done); err != nil {
			return err
		}
		f.mu.Lock()
		if err = f.startByHand(r.ID); err == nil {
			c, _ := f.find(r.ID)
			f.emitContainer(c, "restart")
		}
		f.mu.Unlock()
	}
	return f.leave(req, err)
}

// Unpause resumes a paused container; one that is not paused is fine.
func (f *Fake) Unpause(ctx context.Context, id string) error {
	return f.call(ctx, request{"Unpause", id, "unpause container"}, func() error { return f.unpause(id) })
}

func (f *Fake) unpause(id string) error {
	c, err := f.find(id)
	if err != nil || !c.paused {
		return err
	}
	c.paused = false
	f.emitContainer(c, "unpause")
	f.monitorHealth(c)
	return nil
}

func (f *Fake) pause(id string) error {
	c, err := f.find(id)
	switch {
	case err != nil:
		return err
	case !c.running || c.restarting || c.paused:
		return refuse(engine.ErrConflict, "Container %s is not running", id)
	}
	c.paused = true
	f.emitContainer(c, "pause")
	return nil
}

// awaitThaw waits while a container is frozen.
func (f *Fake) awaitThaw(ctx context.Context, req request, id string) error {
	f.mu.Lock()
	var thawed chan struct{}
	if c, err := f.find(id); err == nil {
		thawed = c.thawed
	}
	f.mu.Unlock()
	if thawed == nil {
		return nil
	}
	return f.wait(ctx, req, thawed)
}

// hangOnMount freezes a container that is about to be started on a dead share.
func (f *Fake) hangOnMount(id string) {
	c, err := f.find(id)
	if err != nil || c.thawed != nil || c.running {
		return
	}
	for _, m := range c.mounts {
		for path, hung := range f.hungMounts {
			if hung && m.Type == api.MountBind && strings.HasPrefix(m.Source+"/", path+"/") {
				c.thawed = make(chan struct{})
				return
			}
		}
	}
}
