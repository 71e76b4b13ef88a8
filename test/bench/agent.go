package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// agent is one run of ktrdr-agent on a folder source, with one stack.
type agent struct {
	project string
	home    string
	repo    string
	log     *os.File
	cmd     *exec.Cmd
	http    http.Client
}

// startAgent starts an agent whose stack is written but not deployed yet, and waits until
// it has observed the engine.
func (b *bench) startAgent(ctx context.Context, project, composeFile string) (*agent, error) {
	a, err := b.newAgent(project)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		a.write("fleet.yaml", "kind: Fleet\nmetadata: {name: bench}\nspec: {}\n"),
		a.write("stacks/app/stack.yaml", "kind: Stack\nmetadata: {name: app}\nspec:\n  project: "+project+"\n"),
		a.writeCompose(composeFile),
		a.writeNode("stacks: []"),
	)
	if err != nil {
		return nil, err
	}
	if err := a.start(b); err != nil {
		return nil, err
	}
	_, err = a.await(ctx, func(st *api.NodeStatus) bool { return st.Ready && st.Engine.Reachable })
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

// newAgent makes a home for an agent.
func (b *bench) newAgent(project string) (*agent, error) {
	home, err := os.MkdirTemp(b.dir, "agent-")
	if err != nil {
		return nil, err
	}
	a := &agent{project: project, home: home, repo: filepath.Join(home, "repo")}
	a.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(home, "s"))
	}}
	return a, nil
}

// config is the agent's configuration file with a source.
func (a *agent) config(b *bench, source string) string {
	return fmt.Sprintf("node: %s\nstateDir: %s\nsocket: %s\nlisten: \"\"\nengine: {host: unix://%s}\nsource: %s\n",
		nodeName, filepath.Join(a.home, "state"), filepath.Join(a.home, "s"), b.socket, source)
}

func (a *agent) start(b *bench) error {
	text := a.config(b, fmt.Sprintf("{dir: {path: %s}}", a.repo))
	if err := os.WriteFile(filepath.Join(a.home, "agent.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	return a.run(b)
}

// run runs the agent with the configuration file in its home.
func (a *agent) run(b *bench) error {
	config := filepath.Join(a.home, "agent.yaml")
	var err error
	if a.log, err = os.Create(filepath.Join(a.home, "log")); err != nil {
		return err
	}
	a.cmd = exec.Command(b.agent, "run", "--config", config)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	endWithUs(a.cmd)
	return a.cmd.Start()
}

// stop ends the agent; its containers run on.
func (a *agent) stop() error {
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(30*time.Second, func() { _ = a.cmd.Process.Kill() })
	defer timer.Stop()
	err := a.cmd.Wait()
	return errors.Join(err, a.log.Close(), os.RemoveAll(a.home))
}

// write replaces a file of the repository as an editor does: a new file, then a rename.
func (a *agent) write(name, text string) error {
	path := filepath.Join(a.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if name != "stacks/app/compose.yaml" {
		text = "apiVersion: ktrdr.io/v1alpha1\n" + text
	}
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+"~", path)
}

func (a *agent) writeCompose(text string) error { return a.write("stacks/app/compose.yaml", text) }

func (a *agent) writeNode(spec string) error {
	return a.write("nodes/"+nodeName+".yaml", "kind: Node\nmetadata: {name: "+nodeName+"}\nspec:\n  "+spec+"\n")
}

// deploy makes the stack wanted.
func (a *agent) deploy() error { return a.writeNode("stacks: [{name: app}]") }

// deployed deploys and waits for the stack to be converged.
func (a *agent) deployed(ctx context.Context) error {
	if err := a.deploy(); err != nil {
		return err
	}
	_, err := a.await(ctx, converged)
	return err
}

func converged(st *api.NodeStatus) bool { return len(st.Stacks) == 1 && st.Stacks[0].Converged }

func (a *agent) status(ctx context.Context) (*api.NodeStatus, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var st api.NodeStatus
	return &st, json.NewDecoder(resp.Body).Decode(&st)
}

// pollEvery is how often the agent's status is asked for: often enough for a figure of
// tens of milliseconds, seldom enough not to load the agent.
const pollEvery = 4 * time.Millisecond

// await polls the status until ok says so, and returns when that was.
func (a *agent) await(ctx context.Context, ok func(*api.NodeStatus) bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if st, err := a.status(ctx); err == nil && ok(st) {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(a.log.Name())
			return time.Time{}, fmt.Errorf("await the agent: %w\n%s", ctx.Err(), said[max(0, len(said)-4000):])
		case <-ticker.C:
		}
	}
}
