package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"ktrdr.io/fleet/pkg/agent"
)

// maxToken bounds what is read of a token's file, in bytes.
const maxToken = 4096

// membership joins a fleet or leaves it.
func membership(command string, args []string, stdin io.Reader, stdout, stderr io.Writer) int { //nolint:revive // a program's streams
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	m := agent.Membership{Out: stdout}
	flags.StringVar(&m.ConfigFile, "config", defaultConfig, "configuration `file`")
	flags.BoolVar(&m.NoService, "no-service", false, "leave systemd alone: something else starts and stops the agent")
	tokenFile, wanted := "", 0
	if command == "join" {
		flags.StringVar(&tokenFile, "token-file", "", "`file` with the join token; - is the standard input")
		flags.BoolVar(&m.DryRun, "dry-run", false, "only check")
		flags.BoolVar(&m.Force, "force", false, "replace another node, source or certificate")
		wanted = 1
		if len(args) > 0 && args[0] != "" && args[0][0] != '-' { // the controller may stand first
			m.Controller, args, wanted = args[0], args[1:], 0
		}
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != wanted {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if wanted == 1 {
		m.Controller = flags.Arg(0)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := changeMembership(ctx, command, m, tokenSource{tokenFile, stdin}); err != nil {
		fmt.Fprintln(stderr, "ktrdr-agent:", err)
		return 1
	}
	return 0
}

func changeMembership(ctx context.Context, command string, m agent.Membership, token tokenSource) error {
	if os.Geteuid() != 0 && !m.NoService {
		return fmt.Errorf("%s writes files of root and starts a service: run it as root (sudo)", command)
	}
	if command == "leave" {
		return agent.Leave(ctx, m)
	}
	var err error
	if m.Token, err = token.read(); err != nil {
		return err
	}
	return agent.Join(ctx, m)
}

// tokenSource is where the join token comes from: never an argument, which every process
// of the machine can read.
type tokenSource struct {
	file  string
	stdin io.Reader
}

func (s tokenSource) read() (string, error) {
	in := s.stdin
	switch s.file {
	case "":
		return "", fmt.Errorf("name the file with the join token: --token-file FILE, or - for the standard input")
	case "-":
	default:
		f, err := os.Open(s.file)
		if err != nil {
			return "", fmt.Errorf("read join token: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxToken))
	if err != nil {
		return "", fmt.Errorf("read join token: %w", err)
	}
	return string(text), nil
}
