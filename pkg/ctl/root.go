package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/fang/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
)

// Process is what a run of ktrdrctl has from its process.
type Process struct {
	Args           []string // without the program's name
	Env            func(name string) string
	Stdout, Stderr io.Writer
}

const (
	defaultAgent   = "unix:///run/ktrdr/agent.sock"
	agentVariable  = "KTRDR_AGENT"
	requestTimeout = 10 * time.Second
)

// session is what all verbs share.
type session struct {
	process Process
	agent   string
	timeout time.Duration
}

// Main runs one command and returns its exit code. The end of ctx interrupts it.
func Main(ctx context.Context, p Process) int {
	root := newRoot(&session{process: p}) //nolint:contextcheck // cobra hands ctx to the commands
	root.SetArgs(p.Args)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := execute(ctx, root, p.Args)
	writeError(p.Stderr, err)
	return codeOf(err)
}

// execute leaves only help to fang: at every error, even at one that is no more than an
// exit code, fang asks the terminal for its background colour, which can take seconds.
func execute(ctx context.Context, root *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "help" || slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return fang.Execute(ctx, root, fang.WithVersion(root.Version), fang.WithoutManpage(),
			fang.WithErrorHandler(func(io.Writer, fang.Styles, error) {}))
	}
	return root.ExecuteContext(ctx)
}

func writeError(w io.Writer, err error) {
	if err == nil {
		return
	}
	if _, silent := errors.AsType[exitCode](err); !silent {
		fmt.Fprintln(w, "ktrdrctl:", printable(err.Error()))
	}
}

func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use: "ktrdrctl", Version: api.Version, SilenceErrors: true, SilenceUsage: true,
		Short: "See and steer what a ktrdr agent does",
		Long:  "ktrdrctl talks to one agent: over its Unix socket on the same machine, or for reading over HTTP.",
		Example: `ktrdrctl status
ktrdrctl validate desired-state
ktrdrctl plan desired-state
ktrdrctl hold core --for 2h --why "database maintenance"`,
	}
	agent := s.process.Env(agentVariable)
	if agent == "" {
		agent = defaultAgent
	}
	root.PersistentFlags().StringVar(&s.agent, "agent", agent, "address of the agent, unix:///path or http://host:port ("+agentVariable+")")
	root.PersistentFlags().DurationVar(&s.timeout, "timeout", requestTimeout, "time limit of one request")
	root.AddCommand(
		s.statusCommand(), s.validateCommand(), s.planCommand(), s.holdCommand(), s.resumeCommand(),
		s.eventsCommand(), s.secretsCommand(), s.syncCommand(), s.versionCommand(),
		&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitHelp},
	)
	return root
}

// output adds -o with the formats that a verb knows, the first as default, and returns
// where the choice ends up.
func output(cmd *cobra.Command, formats ...string) *string {
	choice := formats[0]
	cmd.Flags().StringVarP(&choice, "output", "o", formats[0], "format: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		for _, f := range formats {
			if f == choice {
				if check != nil {
					return check(cmd, args)
				}
				return nil
			}
		}
		return fmt.Errorf("-o %s: write one of %s", choice, strings.Join(formats, ", "))
	}
	return &choice
}

// completeStacks completes the name of a stack; an agent that does not answer completes
// nothing.
func (s *session) completeStacks(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := s.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	st, err := c.status(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, 0, len(st.Stacks))
	for i := range st.Stacks {
		names = append(names, st.Stacks[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
