package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// composeFile writes services as a Compose file.
func composeFile(services []service) string {
	var out strings.Builder
	out.WriteString("services:\n")
	for i, s := range services {
		fmt.Fprintf(&out, "  %s:\n    image: %s\n    command: [\"%s\"]\n    restart: unless-stopped\n    labels: {%s: %s}\n    pull_policy: missing\n",
			s.name, imageTag, strings.Join(command(s.name), `", "`), benchLabel, s.project)
		if s.check > 0 {
			fmt.Fprintf(&out, "    healthcheck: {test: [\"CMD\", \"%s\"], interval: %s}\n", strings.Join(checkCommand(), `", "`), s.check)
			if i > 0 {
				fmt.Fprintf(&out, "    depends_on: {%s: {condition: service_healthy}}\n", services[i-1].name)
			}
		}
	}
	return out.String()
}

// serviceList makes n services of a project.
func serviceList(project string, n int, check time.Duration) []service {
	list := make([]service, n)
	for i := range list {
		list[i] = service{project: project, name: fmt.Sprintf("s%02d", i+1), check: check}
	}
	return list
}

// composeUp is a contender that runs docker compose up -d.
func (b *bench) composeUp(services []service) contender {
	project := services[0].project
	return contender{name: byCompose, run: func(ctx context.Context) (time.Duration, error) {
		defer b.engine.sweepAll(ctx)
		folder, err := os.MkdirTemp(b.dir, "compose-")
		if err != nil {
			return 0, err
		}
		file := filepath.Join(folder, "compose.yaml")
		if err := os.WriteFile(file, []byte(composeFile(services)), 0o600); err != nil {
			return 0, err
		}
		return b.engine.timed(ctx, project, len(services), func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, b.compose, "-p", project, "-f", file, "up", "-d")
			cmd.Env = []string{"DOCKER_HOST=unix://" + b.socket, "HOME=" + folder, "DOCKER_CONFIG=" + folder, "PATH=/nonexistent"}
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("docker compose up -d: %w\n%s", err, said.Bytes())
			}
			return nil
		})
	}}
}

// agentUp is a contender that deploys the services by an agent that runs already.
func (b *bench) agentUp(services []service) contender {
	return contender{name: ours, run: func(ctx context.Context) (time.Duration, error) {
		defer b.engine.sweepAll(ctx)
		a, err := b.startAgent(ctx, services[0].project, composeFile(services))
		if err != nil {
			return 0, err
		}
		defer func() { _ = a.stop() }()
		before, err := cpuTime(a.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		took, err := b.engine.timed(ctx, a.project, len(services), func(context.Context) error { return a.deploy() })
		if after, err := cpuTime(a.cmd.Process.Pid); err == nil {
			b.say("the agent used %s of CPU meanwhile", after-before)
		}
		return took, err
	}}
}
