package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/desired"
)

func (s *session) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check a desired-state folder; needs no agent",
		Long: "Checks the folder (default: this one) for all its nodes, or for one, and prints each\n" +
			"problem as file:line:column: path: message. Warnings don't make it invalid.",
		Args: cobra.MaximumNArgs(1),
	}
	node := cmd.Flags().String("node", "", "check only what concerns this node")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir := "."
		if len(args) > 0 {
			dir = args[0]
		}
		warnings, err := check(cmd.Context(), dir, *node)
		for _, w := range warnings {
			printProblem(cmd.OutOrStdout(), dir, w, "warning: ")
		}
		if invalid, ok := errors.AsType[*desired.Error](err); ok {
			for _, p := range invalid.Problems {
				printProblem(cmd.OutOrStdout(), dir, p, "")
			}
			return fmt.Errorf("%s: %s", dir, counted(len(invalid.Problems), "problem"))
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid\n", dir)
		return err
	}
	return cmd
}

// check returns warnings and an error that is *desired.Error when the state is invalid.
func check(ctx context.Context, dir, node string) ([]desired.Problem, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	if node == "" {
		return desired.Validate(ctx, root)
	}
	_, warnings, err := desired.Load(ctx, desired.Request{Root: root, Node: node, Revision: "local"})
	return warnings, err
}

// printProblem prints a path that can be opened from where the user is.
func printProblem(out io.Writer, dir string, p desired.Problem, label string) {
	p.File = filepath.Join(dir, p.File)
	p.Message = label + p.Message
	fmt.Fprintln(out, printable(p.String()))
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
