package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// scale measures from the start of `ktrdrctl scale` to the call that creates the new
// container, on a real node: command, commit, validation, slice, plan.
func scale(ctx context.Context, b *bench) ([]row, error) {
	c, err := b.newController(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = c.stop() }()
	services := serviceList(project("scale"), 2, 0)
	if err := c.writePool(services); err != nil {
		return nil, err
	}
	a, err := b.joinedAgent(ctx, c, services[0].project)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.stop() }()
	if err := c.clone(ctx); err != nil {
		return nil, err
	}
	if err := c.push(ctx); err != nil {
		return nil, err
	}
	defer b.engine.sweepAll(ctx)
	var took []time.Duration
	for range 3 * b.rounds {
		d, err := b.scaledUp(ctx, c, a, services[1])
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return []row{under(150*time.Millisecond, median(took), "ktrdrctl scale to the create call of the new container")}, nil
}

// writePool writes a repository with one node and a pool of two services, of which one runs.
func (c *controller) writePool(services []service) error {
	return errors.Join(
		c.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: bench}\nspec: {}\n"),
		c.write("nodes/"+nodeName+".yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: "+nodeName+"}\nspec:\n  stacks: [{name: app}]\n  scale: {web: 1}\n"),
		c.write("stacks/app/stack.yaml", fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec:\n  project: %s\n  pools: {web: {services: [%s, %s]}}\n",
			services[0].project, services[0].name, services[1].name)),
		c.write("stacks/app/compose.yaml", composeFile(services)),
	)
}

// joinedAgent starts an agent that has joined the controller.
func (b *bench) joinedAgent(ctx context.Context, c *controller, project string) (*agent, error) {
	a, err := b.newAgent(project)
	if err != nil {
		return nil, err
	}
	token, err := c.joinToken(ctx, nodeName)
	if err != nil {
		return nil, err
	}
	config, tokenFile := filepath.Join(a.home, "agent.yaml"), filepath.Join(a.home, "token")
	text := a.config(b, fmt.Sprintf("{controller: {endpoints: ['%s']}}", c.target))
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(tokenFile, []byte(token), 0o600)); err != nil {
		return nil, err
	}
	join := exec.CommandContext(ctx, b.agent, "join", c.target, "--no-service", "--config", config, "--token-file", tokenFile)
	if out, err := join.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("join: %w: %s", err, out)
	}
	err = a.run(b)
	return a, err
}

// scaledUp scales to 2 and waits for the create call, and then back to 1.
func (b *bench) scaledUp(ctx context.Context, c *controller, a *agent, second service) (time.Duration, error) {
	if _, err := a.await(ctx, func(st *api.NodeStatus) bool { return converged(st) && len(st.Stacks[0].Services) == 1 }); err != nil {
		return 0, err
	}
	w, err := b.engine.follow(ctx, map[string][]string{"type": {"container"}, "event": {"create"}, "label": {benchLabel + "=" + second.project}})
	if err != nil {
		return 0, err
	}
	defer w.stop()
	began := time.Now()
	if out, err := c.run(ctx, "scale", "web=2", "node="+nodeName, "--no-wait"); err != nil {
		return 0, fmt.Errorf("scale: %w: %s", err, out)
	}
	created, err := w.await(ctx, "create", 1)
	if err != nil {
		return 0, err
	}
	if _, err := a.await(ctx, func(st *api.NodeStatus) bool { return converged(st) && len(st.Stacks[0].Services) == 2 }); err != nil {
		return 0, err
	}
	out, err := c.run(ctx, "scale", "web=1", "node="+nodeName)
	if err != nil {
		err = fmt.Errorf("scale: %w: %s", err, out)
	}
	return created.Sub(began), err
}
