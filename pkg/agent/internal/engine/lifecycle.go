package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// engineGrace is how long engines wait for a container that has no StopTimeout.
const engineGrace = 10 * time.Second

// unlessGone makes "not found" a success.
func unlessGone(err error) error {
	if err != nil && cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Start starts a container; one that runs is success. ErrNotFound may also mean that a
// network of the container is gone. Engine API: POST /containers/{id}/start.
func (c *Client) Start(ctx context.Context, id string) error {
	return c.do(ctx, call{op: "start container", object: id, limit: c.cfg.Start}, func(ctx context.Context, s *session) error {
		_, err := s.cli.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
}

// Stop sends the stop signal, waits up to the grace period and kills. A container that
// does not run, or is gone, is success. It takes at most grace + Config.StopMargin.
// Engine API: POST /containers/{id}/stop, which counts in seconds: a grace period with a
// fraction is kept here, with kill and wait.
func (c *Client) Stop(ctx context.Context, req StopRequest) error {
	grace, err := c.grace(ctx, req)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	what := call{op: "stop container", object: req.ID, limit: grace + c.cfg.StopMargin}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		if grace%time.Second != 0 {
			return unlessGone(s.stopWithin(ctx, req, grace))
		}
		options := client.ContainerStopOptions{Timeout: wholeSeconds(req.Grace)}
		if req.Signal != "" {
			if !s.atLeast("1.42") {
				return unlessGone(s.stopWithin(ctx, req, grace))
			}
			options.Signal = req.Signal
		}
		_, err := s.cli.ContainerStop(ctx, req.ID, options)
		return unlessGone(err)
	})
}

// grace returns how long the container may take to end: what was asked for, else the
// container's own StopTimeout, else the engine's default.
func (c *Client) grace(ctx context.Context, req StopRequest) (time.Duration, error) {
	if req.Grace != nil {
		return max(*req.Grace, 0), nil
	}
	grace := engineGrace
	err := c.do(ctx, call{op: "stop container", object: req.ID, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.ContainerInspect(ctx, req.ID, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		if cfg := result.Container.Config; cfg != nil && cfg.StopTimeout != nil {
			grace = time.Duration(*cfg.StopTimeout) * time.Second
		}
		return nil
	})
	if errors.Is(err, ErrTimeout) {
		// Inspecting can hang on a dead share while stopping still works.
		return grace, nil
	}
	if grace < 0 {
		// -1 waits for ever; no call of this package does.
		grace = time.Hour
	}
	return grace, err
}

func wholeSeconds(grace *time.Duration) *int {
	if grace == nil {
		return nil
	}
	seconds := int(max(math.Ceil(grace.Seconds()), 0))
	return &seconds
}

// stopWithin is stop with a grace period of any precision and any signal.
func (s *session) stopWithin(ctx context.Context, req StopRequest, grace time.Duration) error {
	signal := req.Signal
	if signal == "" {
		result, err := s.cli.ContainerInspect(ctx, req.ID, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		if result.Container.Config != nil {
			signal = result.Container.Config.StopSignal
		}
	}
	if signal == "" {
		signal = "SIGTERM"
	}
	waitCtx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	ended := s.cli.ContainerWait(waitCtx, req.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	if _, err := s.cli.ContainerKill(ctx, req.ID, client.ContainerKillOptions{Signal: signal}); err != nil {
		return unlessNotRunning(err)
	}
	select {
	case <-ended.Result:
		return s.settle(ctx, req.ID)
	case err := <-ended.Error:
		if waitCtx.Err() == nil {
			return err
		}
	}
	return s.settle(ctx, req.ID)
}

// settle ends with the engine's own stop at no grace: it kills what still runs, and marks
// the container as stopped by hand, so that its restart policy leaves it alone.
func (s *session) settle(ctx context.Context, id string) error {
	now := 0
	_, err := s.cli.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &now})
	return err
}

func unlessNotRunning(err error) error {
	if err != nil && strings.Contains(err.Error(), "is not running") {
		return nil
	}
	return err
}

// Restart stops and starts a container; its address and its restart policy stay.
// It takes at most grace + Config.StopMargin + Config.Start.
// Engine API: POST /containers/{id}/restart.
func (c *Client) Restart(ctx context.Context, req StopRequest) error {
	grace, err := c.grace(ctx, req)
	if err != nil {
		return err
	}
	what := call{op: "restart container", object: req.ID, limit: grace + c.cfg.StopMargin + c.cfg.Start}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		if grace%time.Second != 0 || (req.Signal != "" && !s.atLeast("1.42")) {
			if err := s.stopWithin(ctx, req, grace); err != nil {
				return err
			}
			_, err := s.cli.ContainerStart(ctx, req.ID, client.ContainerStartOptions{})
			return err
		}
		_, err := s.cli.ContainerRestart(ctx, req.ID, client.ContainerRestartOptions{Timeout: wholeSeconds(req.Grace), Signal: req.Signal})
		return err
	})
}

// Remove kills and removes a container, never its volumes. One that is gone, or that
// another call is removing, is success. Engine API: DELETE /containers/{id}?force=1.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.do(ctx, call{op: "remove container", object: id, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		_, err := s.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
		if err != nil && strings.Contains(err.Error(), "is already in progress") {
			return nil
		}
		return unlessGone(err)
	})
}

// Rename gives a container another name; its present name is success. A name that
// another container has is ErrConflict and ReasonNameConflict, with that container's id.
// Engine API: POST /containers/{id}/rename.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	what := call{op: "rename container", object: id + " to " + name, limit: c.cfg.Change}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		_, err := s.cli.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: name})
		if err == nil || cerrdefs.IsNotFound(err) {
			return err
		}
		if strings.Contains(err.Error(), "same name") || strings.Contains(err.Error(), "same as its current name") {
			return nil
		}
		return s.nameConflict(ctx, what, name, err)
	})
}

// nameConflict says who holds the name when that is why err happened. When the holder is
// the very container that what is about, there is nothing left to do.
func (s *session) nameConflict(ctx context.Context, what call, name string, err error) error {
	if !cerrdefs.IsConflict(err) || !strings.Contains(err.Error(), "already in use") {
		return err
	}
	held := fmt.Errorf("%w: name %s is in use", ErrConflict, name)
	if result, inspectErr := s.cli.ContainerInspect(ctx, name, client.ContainerInspectOptions{}); inspectErr == nil {
		if strings.HasPrefix(what.object, result.Container.ID+" to ") {
			return nil
		}
		held = fmt.Errorf("%w: name %s is in use by container %s", ErrConflict, name, result.Container.ID)
	}
	return &Error{Op: what.op, Object: what.object, Class: api.Waiting, Reason: api.ReasonNameConflict, Err: held}
}

// Update changes limits and restart policy in place; a limit of zero keeps the engine's
// present one, as the engine has no word for "no limit" here.
// Engine API: POST /containers/{id}/update.
func (c *Client) Update(ctx context.Context, req UpdateRequest) error {
	return c.do(ctx, call{op: "update container", object: req.ID, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		resources := hostResources(req.Resources, nil)
		// Devices, ulimits and cgroup placement are fixed at create; engines refuse them here.
		resources.Devices, resources.DeviceRequests, resources.DeviceCgroupRules = nil, nil, nil
		resources.Ulimits, resources.CgroupParent = nil, ""
		policy := restartPolicy(req.Restart)
		if policy.Name == "" {
			policy.Name = container.RestartPolicyDisabled
		}
		_, err := s.cli.ContainerUpdate(ctx, req.ID, client.ContainerUpdateOptions{Resources: &resources, RestartPolicy: &policy})
		return err
	})
}

// Unpause resumes a paused container; one that is not paused is success.
// Engine API: POST /containers/{id}/unpause.
func (c *Client) Unpause(ctx context.Context, id string) error {
	return c.do(ctx, call{op: "unpause container", object: id, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		_, err := s.cli.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		if err != nil && strings.Contains(err.Error(), "is not paused") {
			return nil
		}
		return err
	})
}
