// Command ktrdr-agent makes the Docker engine of its node match the desired state.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"ktrdr.io/fleet/pkg/agent"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/configfile"
	"ktrdr.io/fleet/pkg/telemetry"
)

const usage = `ktrdr-agent makes the Docker engine of this node match the desired state.

  ktrdr-agent run [--config /etc/ktrdr/agent.yaml]      run until SIGTERM; SIGHUP looks at the source and the policy now
  ktrdr-agent prepare [--config /etc/ktrdr/agent.yaml]  mount the memory for secrets; as root, before run
  ktrdr-agent check [--config /etc/ktrdr/agent.yaml]    check the configuration and policy files and exit
  ktrdr-agent doctor [--canary]                         check the machine; before an agent runs on it
  ktrdr-agent join CONTROLLER --token-file FILE         become a node of the fleet of https://host:port; --dry-run only checks
  ktrdr-agent leave                                     stop the agent and remove its certificate; containers run on
  ktrdr-agent version                                   print the version
`

// gcPercent is how much garbage may be there before it is collected, of what is in use. The agent
// mostly watches: half of Go's default saves some MB (docs/benchmarks.md) for a few milliseconds
// whenever it reads a desired state. GOGC overrides it.
const gcPercent = 50

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "run", "check", "prepare":
		return configured(args[0], args[1:], stderr)
	case "join", "leave":
		return membership(args[0], args[1:], stdin, stdout, stderr)
	case "doctor":
		return examine(args[1:], stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, api.Version, api.Commit)
		return 0
	case agent.MountHelper:
		return agent.RunMountHelper(stdin, stdout)
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "ktrdr-agent: unknown command %q\n\n%s", args[0], usage)
	return 2
}

func configured(command string, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "/etc/ktrdr/agent.yaml", "configuration `file`")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "ktrdr-agent: %s takes no %q; a configuration is named with --config\n", command, flags.Arg(0))
		return 2
	}
	cfg, err := agent.ReadConfig(*path)
	if err != nil {
		return invalid(command, err, stderr)
	}
	log, err := telemetry.NewLogger(stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return invalid(command, fmt.Errorf("%s: %w", *path, err), stderr)
	}
	var once func() error
	switch command {
	case "check":
		once = cfg.CheckPolicy
	case "prepare":
		once = func() error { return agent.Prepare(cfg) }
	}
	if once != nil {
		if err := once(); err != nil {
			fmt.Fprintln(stderr, "ktrdr-agent:", err)
			return 1
		}
		return 0
	}
	if err := noCore(); err != nil {
		log.Warn("secrets may get into a core file", "err", err)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := agent.Run(ctx, cfg, log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("agent ends", "err", err)
		return 1
	}
	return 0
}

// invalid tells what is wrong with the configuration, and returns the exit code of a command.
func invalid(command string, err error, stderr io.Writer) int {
	switch {
	case !configfile.Invalid(err): // a disk or a moment, not the text
	case command == "prepare":
		// systemd heeds the code of run only, which comes next and says it in full.
		fmt.Fprintln(stderr, "ktrdr-agent: nothing is prepared, the configuration is invalid")
		return 0
	case command == "run":
		fmt.Fprintf(stderr, "ktrdr-agent: the configuration is invalid; correct it, then systemctl restart ktrdr-agent\n%v\n", err)
		return configfile.InvalidCode
	}
	fmt.Fprintln(stderr, "ktrdr-agent:", err)
	return 1
}
