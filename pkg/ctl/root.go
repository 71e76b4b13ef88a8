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
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

const (
	defaultAgent   = "unix:///run/ktrdr/agent.sock"
	requestTimeout = 10 * time.Second
)

// session is what all verbs share.
type session struct {
	process Process
	// agent and context are the flags; empty when they were not written.
	agent, context string
	// repo is a clone of the repository, for changes without a controller.
	repo    string
	timeout time.Duration
}

// Main runs one command and returns its exit code. The end of ctx interrupts it.
func Main(ctx context.Context, p Process) int {
	root := newRoot(&session{process: p}) //nolint:contextcheck // cobra hands ctx to the commands
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
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
		Short: "See and steer a fleet, or what one ktrdr agent does",
		Long: "ktrdrctl talks to the controller of a fleet, or to one agent over its Unix socket or HTTP. Which one:\n" +
			"--agent or --context, else KTRDR_AGENT or KTRDR_CONTEXT, else the context in use (ktrdrctl context use),\n" +
			"else the agent of this machine.",
		Example: `ktrdrctl context add home --from credentials.yaml
ktrdrctl status
ktrdrctl deploy core backend --tag sha-a1b2c3d
ktrdrctl scale backtest=3 node=b
ktrdrctl logs -f workers --node b
ktrdrctl hold core --for 2h --why "database maintenance"`,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.agent, "agent", "", "ask one agent: unix:///path or http://host:port ("+agentVariable+"; without any context "+defaultAgent+")")
	flags.StringVar(&s.context, "context", "", "name of the context ("+contextVariable+")")
	flags.DurationVar(&s.timeout, "timeout", requestTimeout, "time limit of one request")
	s.completeFlag(root, "context", completeContext)
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"}, &cobra.Group{ID: groupChange, Title: "Change:"},
		&cobra.Group{ID: groupFleet, Title: "The fleet itself:"}, &cobra.Group{ID: groupHere, Title: "On this machine:"},
	)
	for _, group := range []struct {
		id       string
		commands []*cobra.Command
	}{
		{groupSee, s.seeCommands()},
		{groupChange, s.changeCommands()},
		{groupFleet, s.fleetCommands()},
		{groupHere, s.hereCommands()},
	} {
		for _, cmd := range group.commands {
			cmd.GroupID = group.id
			root.AddCommand(cmd)
		}
	}
	explainUsage(root)
	root.SetFlagErrorFunc(usageError)
	root.SetHelpCommandGroupID(groupHere)
	root.SetCompletionCommandGroupID(groupHere)
	return root
}

// explainUsage makes errors about arguments say how the command is written.
func explainUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil && cmd.HasParent() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		explainUsage(sub)
	}
}

func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w\n  Write: %s\n  More:  %s --help", err, cmd.UseLine(), cmd.CommandPath())
}

// Groups of verbs in the help.
const (
	groupSee    = "see"
	groupChange = "change"
	groupFleet  = "fleet"
	groupHere   = "here"
)

func (s *session) seeCommands() []*cobra.Command {
	return []*cobra.Command{
		s.statusCommand(), s.planCommand(), s.diffCommand(), s.historyCommand(), s.eventsCommand(), s.logsCommand(),
		s.secretsCommand(), s.doctorCommand(), s.auditCommand(), s.whoamiCommand(),
	}
}

func (s *session) changeCommands() []*cobra.Command {
	return []*cobra.Command{
		s.deployCommand(), s.scaleCommand(), s.rollbackCommand(), s.holdCommand(), s.resumeCommand(), s.syncCommand(),
	}
}

func (s *session) fleetCommands() []*cobra.Command {
	return []*cobra.Command{s.nodeCommand(), s.operatorCommand()}
}

func (s *session) hereCommands() []*cobra.Command {
	return []*cobra.Command{
		s.contextCommand(), s.validateCommand(), s.gitCommand(), s.credentialCommand(), s.manCommand(), s.versionCommand(),
		{Use: "exit-codes", Short: "What the exit codes mean", Long: exitHelp, Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), exitHelp)
		}},
	}
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
