package ctl

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff [FROM [TO] | DIR]",
		Short: "How two revisions differ, or what a push of a folder would change",
		Long: "Compares two revisions of the repository. Without TO it is the head, without FROM what the fleet runs now.\n" +
			"With a folder, shows what a push of it would change of the head, and which nodes that reaches.",
		Example: `ktrdrctl diff
ktrdrctl diff 3f2a9c1
ktrdrctl diff 3f2a9c1 9b01d44
ktrdrctl diff ./desired-state`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: s.complete(completeRevision, nil),
	}
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			if len(args) == 1 && isFolder(args[0]) {
				return c.diffFolder(cmd, args[0])
			}
			req := &ktrdrv1.DiffRequest{From: first(args)}
			if len(args) > 1 {
				req.To = args[1]
			}
			var r *ktrdrv1.DiffResponse
			err := c.call(cmd.Context(), nodePatience, func(ctx context.Context) (err error) {
				r, err = c.Fleet.Diff(ctx, req)
				return err
			})
			if err != nil {
				return err
			}
			return printDiff(cmd.OutOrStdout(), r.GetDiff(), r.GetTruncated())
		},
		instead: "git diff in a clone of the repository.",
	})
	return cmd
}

func printDiff(out io.Writer, diff string, truncated bool) error { //nolint:revive // a field of the answer
	text := diffText(diff)
	if text == "" {
		text = "no difference"
	}
	if truncated {
		text += "\n" + busy("… the rest was left out: compare in a clone with git diff")
	}
	_, err := lipgloss.Fprintln(out, text)
	return err
}

// diffText colours a unified diff.
func diffText(diff string) string {
	lines := strings.Split(strings.TrimRight(printable(diff), "\n"), "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "diff "):
			lines[i] = bold(line)
		case strings.HasPrefix(line, "+"):
			lines[i] = good(line)
		case strings.HasPrefix(line, "-"):
			lines[i] = bad(line)
		case strings.HasPrefix(line, "@@"):
			lines[i] = dim(line)
		}
	}
	return strings.Join(lines, "\n")
}

// historyPage is the number of commits that are asked for at once.
const historyPage = 100

func (s *session) historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history [STACK|node/NAME]",
		Short: "Commits and what became of them",
		Long:  "Lists commits, the newest first, with who brought them and how their rollouts ended; of one stack or one node only.",
		Example: `ktrdrctl history
ktrdrctl history workers
ktrdrctl history node/b -n 5`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.complete(completeStackOrNode),
	}
	format := output(cmd, formatTable, formatJSON, formatYAML)
	limit := cmd.Flags().IntP("number", "n", 20, "how many commits")
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			commits, err := c.history(cmd.Context(), repositoryPathOf(first(args)), *limit)
			if err != nil {
				return err
			}
			return (view{cmd.OutOrStdout(), *format}).history(commits)
		},
		instead: "git log in a clone of the repository.",
	})
	return cmd
}

// repositoryPathOf is where a stack or a node is in the repository.
func repositoryPathOf(name string) string {
	if node, ok := strings.CutPrefix(name, "node/"); ok {
		return "nodes/" + node + ".yaml"
	}
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return "stacks/" + name
}

func completeStackOrNode(ctx context.Context, s *session, _ []string) []string {
	d := s.look(ctx)
	names := d.stackNames()
	for _, node := range d.nodeNames() {
		names = append(names, "node/"+node)
	}
	return names
}

func (c *controller) history(ctx context.Context, path string, limit int) ([]commitDoc, error) {
	if limit < 1 {
		return nil, fmt.Errorf("--number %d: write a number from 1 on", limit)
	}
	commits := []commitDoc{}
	before := ""
	for len(commits) < limit {
		var r *ktrdrv1.HistoryResponse
		err := c.call(ctx, nodePatience, func(ctx context.Context) (err error) {
			r, err = c.Fleet.History(ctx, &ktrdrv1.HistoryRequest{Limit: int32(min(limit-len(commits), historyPage)), Before: before, Path: path}) //nolint:gosec // bounded
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, commit := range r.GetCommits() {
			commits = append(commits, *toCommit(commit))
		}
		if !r.GetMore() || len(r.GetCommits()) == 0 {
			break
		}
		before = commits[len(commits)-1].Revision
	}
	return commits[:min(limit, len(commits))], nil
}

func (v view) history(commits []commitDoc) error {
	if v.format != formatTable {
		return v.data(commits)
	}
	if len(commits) == 0 {
		return v.line("no commits")
	}
	var rows [][]string
	now := time.Now()
	for _, c := range commits {
		who := c.By
		if who == "" {
			who, _, _ = strings.Cut(c.Author, " <")
		}
		outcome := "-"
		if c.Outcome != "" {
			outcome = rolloutPhase(c.Outcome)
		}
		rows = append(rows, []string{short(c.Revision), since(now, c.Time), dash(who), outcome, dash(c.Subject), dash(c.Message)})
	}
	_, err := lipgloss.Fprintln(v.out, columns([]string{"REVISION", "AGE", "BY", "OUTCOME", "SUBJECT", "NOTE"}, rows))
	return err
}

func (s *session) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who did what, and what was refused",
		Long:  "Lists calls that changed something, pushes and refusals, the newest first. It takes the role that the controller asks for.",
		Example: `ktrdrctl audit
ktrdrctl audit -n 200 -o json`,
		Args: cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatJSON, formatYAML)
	limit := cmd.Flags().IntP("number", "n", 50, "how many entries")
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			entries, err := c.audit(cmd.Context(), *limit)
			if err != nil {
				return err
			}
			return (view{cmd.OutOrStdout(), *format}).audit(entries)
		},
		instead: "git log, and journalctl -u ktrdr-agent on the node.",
	})
	return cmd
}

// auditDoc is one entry of the audit trail.
type auditDoc struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	Role   string    `json:"role,omitzero"`
	What   string    `json:"what"`
	Target string    `json:"target,omitzero"`
	From   string    `json:"from,omitzero"`
	Result string    `json:"result"`
	Detail string    `json:"detail,omitzero"`
}

func (c *controller) audit(ctx context.Context, limit int) ([]auditDoc, error) {
	if limit < 1 {
		return nil, fmt.Errorf("--number %d: write a number from 1 on", limit)
	}
	entries := []auditDoc{}
	before := ""
	for len(entries) < limit {
		var r *ktrdrv1.ListAuditResponse
		err := c.call(ctx, 0, func(ctx context.Context) (err error) {
			r, err = c.Access.ListAudit(ctx, &ktrdrv1.ListAuditRequest{Limit: int32(min(limit-len(entries), 1000)), Before: before}) //nolint:gosec // bounded
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range r.GetEntries() {
			entries = append(entries, auditDoc{
				At: wire.Time(e.GetAt()), Who: e.GetWho(), Role: e.GetRole(), What: e.GetWhat(), Target: e.GetTarget(),
				From: e.GetFrom(), Result: e.GetResult(), Detail: e.GetDetail(),
			})
		}
		if before = r.GetNext(); before == "" {
			break
		}
	}
	return entries[:min(limit, len(entries))], nil
}

func (v view) audit(entries []auditDoc) error {
	if v.format != formatTable {
		return v.data(entries)
	}
	var rows [][]string
	for i := range entries {
		e := &entries[i]
		result := good(oneLine(e.Result))
		if e.Result != "ok" {
			result = bad(dash(e.Result))
		}
		rows = append(rows, []string{
			e.At.Local().Format(time.DateTime), dash(e.Who), dash(e.Role), dash(e.What), dash(e.Target), result, dash(e.From), dash(e.Detail),
		})
	}
	_, err := lipgloss.Fprintln(v.out, columns([]string{"TIME", "WHO", "ROLE", "WHAT", "TARGET", "RESULT", "FROM", "DETAIL"}, rows))
	return err
}
