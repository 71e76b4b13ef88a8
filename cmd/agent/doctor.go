package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os/signal"
	"strings"
	"syscall"

	"ktrdr.io/fleet/pkg/agent"
	"ktrdr.io/fleet/pkg/api"
)

const defaultConfig = "/etc/ktrdr/agent.yaml"

// examine prints what the machine is like before an agent runs on it, with the defaults
// where there is no configuration yet. It ends with 1 when something fails.
func examine(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", defaultConfig, "configuration `file`")
	canary := flags.Bool("canary", false, "start a container and remove it")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	cfg, err := agent.ReadConfig(*path)
	if errors.Is(err, fs.ErrNotExist) && *path == defaultConfig {
		fmt.Fprintf(stderr, "ktrdr-agent: there is no %s yet: defaults are assumed\n", defaultConfig)
		cfg, err = agent.Default(), nil
	}
	if err != nil {
		fmt.Fprintln(stderr, "ktrdr-agent:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	worst := 0
	err = agent.Examine(ctx, cfg, agent.Examination{Canary: *canary}, func(c api.Check) {
		if c.Result == api.CheckFail {
			worst = 1
		}
		fmt.Fprintf(stdout, "%-4s  %s  %s\n", c.Result, strings.TrimSpace(c.Name+" "+c.Subject), c.Message)
		if c.Fix != "" {
			fmt.Fprintf(stdout, "      %s\n", c.Fix)
		}
	})
	if err != nil {
		fmt.Fprintln(stderr, "ktrdr-agent:", err)
		return 1
	}
	return worst
}
