package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// changeFlags are those of every verb that makes a commit.
type changeFlags struct {
	dryRun, noWait, quiet bool
	why                   string
	limit                 time.Duration
}

func addChangeFlags(cmd *cobra.Command, s *session) *changeFlags {
	f := &changeFlags{}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would change")
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "don't wait for the rollout; print the revision")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors and, with --no-wait, the revision")
	cmd.Flags().StringVar(&f.why, "why", "", "the reason, for the history")
	cmd.Flags().DurationVar(&f.limit, "wait-timeout", 30*time.Minute, "how long to wait for the rollout")
	cmd.Flags().StringVar(&s.repo, "repo", "", "against a single agent: a clone of yours to change, commit and push, in the place of a new one of what the agent follows")
	return f
}

// printer writes what people read on the way; quiet drops it.
type printer struct {
	out   io.Writer
	quiet bool
}

func (p printer) say(lines ...string) error {
	if p.quiet {
		return nil
	}
	for _, line := range lines {
		if _, err := lipgloss.Fprintln(p.out, line); err != nil {
			return err
		}
	}
	return nil
}

// announce says what a change did, or would do.
func (p printer) announce(r *ktrdrv1.ChangeResponse, f *changeFlags) error {
	for _, line := range r.GetSummary() {
		if err := p.say(oneLine(line)); err != nil {
			return err
		}
	}
	for _, w := range r.GetWarnings() {
		if err := p.say(busy("warning: ") + oneLine(problemText(w))); err != nil {
			return err
		}
	}
	if f.dryRun && r.GetDiff() != "" {
		if err := p.say("", diffText(r.GetDiff())); err != nil {
			return err
		}
	}
	switch {
	case f.dryRun && len(r.GetNodes()) > 0:
		return p.say("it would reach " + listed(r.GetNodes()))
	case f.dryRun:
		return p.say("nothing would change on any node")
	case r.GetRevision() == "":
		return p.say("nothing changes")
	}
	line := "revision " + short(r.GetRevision())
	if len(r.GetNodes()) > 0 {
		line += " for " + listed(r.GetNodes())
	}
	return p.say(line)
}

// problemText is a problem as a compiler writes it.
func problemText(p *ktrdrv1.Problem) string {
	text := p.GetMessage()
	if p.GetPath() != "" {
		text = p.GetPath() + ": " + text
	}
	if p.GetFile() == "" {
		return text
	}
	if p.GetLine() > 0 {
		return fmt.Sprintf("%s:%d:%d: %s", p.GetFile(), p.GetLine(), p.GetColumn(), text)
	}
	return p.GetFile() + ": " + text
}

// withProblems adds the places of a refusal to its text.
func withProblems(err error) error {
	refused, ok := errors.AsType[*remote.RefusedError](err)
	if !ok || len(refused.Problems) == 0 {
		return err
	}
	lines := []string{refused.Error()}
	for _, p := range refused.Problems {
		// Some messages hold the problems already.
		if text := problemText(p); !strings.Contains(refused.Message, text) {
			lines = append(lines, "  "+oneLine(text))
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// step is one request that changes something.
type step struct {
	// several: a controller that is older knows only one at a time.
	several bool
	do      func(ctx context.Context) (*ktrdrv1.ChangeResponse, error)
	// plan is the same for PlanFleet.
	plan *ktrdrv1.PlanFleetRequest
}

// change makes a commit and waits for its rollout.
func (c *controller) change(cmd *cobra.Command, f *changeFlags, st step) error {
	p := printer{cmd.OutOrStdout(), f.quiet}
	if f.dryRun {
		return c.dryRun(cmd, f, st)
	}
	r, err := c.apply(cmd.Context(), st)
	if err != nil {
		return err
	}
	if err := p.announce(r, f); err != nil {
		return err
	}
	if f.noWait {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), printable(r.GetRevision()))
		return err
	}
	return c.await(cmd, f, r.GetRevision())
}

func (c *controller) apply(ctx context.Context, st step) (*ktrdrv1.ChangeResponse, error) {
	var r *ktrdrv1.ChangeResponse
	err := c.call(ctx, changePatience, func(ctx context.Context) (err error) {
		r, err = st.do(ctx)
		return err
	})
	if _, refused := errors.AsType[*remote.RefusedError](err); refused && st.several {
		err = c.orOlder(ctx, withProblems(err))
	}
	away, ok := errors.AsType[*remote.UnreachableError](err)
	switch {
	case ok && away.Unsent:
		err = fmt.Errorf("%w\n  Nothing was changed: the request was not sent", err)
	case isAway(err):
		err = fmt.Errorf("%w\n  Whether the change was made is not known: look at ktrdrctl history before you repeat it", err)
	}
	return r, withProblems(err)
}

// orOlder adds to a refusal that a controller of another version may not know several pools
// or nodes in one change.
func (c *controller) orOlder(ctx context.Context, err error) error {
	var version string
	asked := c.call(ctx, 0, func(ctx context.Context) error {
		fleet, err := c.Fleet.GetFleet(ctx, &ktrdrv1.GetFleetRequest{})
		version = fleet.GetVersion()
		return err
	})
	if asked != nil || version == api.Version {
		return err
	}
	return fmt.Errorf("%w\n  Nothing was changed. The controller is version %s, this ktrdrctl %s: when it is older it knows one pool and one node at a time;\n  write one command for each then", err, oneLine(version), api.Version)
}

// dryRun shows what a step changes in the repository and what the nodes would do.
func (c *controller) dryRun(cmd *cobra.Command, f *changeFlags, st step) error {
	r, err := c.apply(cmd.Context(), st)
	if err != nil {
		return err
	}
	if err := (printer{cmd.OutOrStdout(), f.quiet}).announce(r, f); err != nil {
		return err
	}
	if len(r.GetNodes()) == 0 || f.quiet {
		return nil
	}
	st.plan.Nodes = r.GetNodes()
	plans, err := c.planFleet(cmd.Context(), st.plan)
	if err != nil {
		return withProblems(err)
	}
	return (view{cmd.OutOrStdout(), formatText}).fleetPlans(plans)
}

// await follows a rollout to its end; of revision "" the newest one.
func (c *controller) await(cmd *cobra.Command, f *changeFlags, revision string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), f.limit)
	defer cancel()
	pr := newProgress(cmd, f.quiet)
	r, err := c.follow(ctx, revision, pr)
	pr.done()
	switch {
	case errors.Is(cmd.Context().Err(), context.Canceled):
		return goesOn(cmd, revision, "interrupted")
	case ctx.Err() != nil:
		return goesOn(cmd, revision, "not finished within "+f.limit.String())
	case err != nil:
		return err
	}
	return c.outcome(cmd, f, r)
}

// goesOn says that the rollout does not need anybody who looks at it.
func goesOn(cmd *cobra.Command, revision, why string) error {
	name := "rollout"
	if revision != "" {
		name += " " + short(revision)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "ktrdrctl: %s: %s goes on without this command\n  See it: ktrdrctl status --watch   Undo it: ktrdrctl rollback\n", why, name)
	return exitCode(exitPending)
}

// outcome prints how a rollout ended, and why.
func (c *controller) outcome(cmd *cobra.Command, f *changeFlags, r *ktrdrv1.Rollout) error {
	doc := toRollout(r)
	p := printer{cmd.OutOrStdout(), f.quiet}
	line := fmt.Sprintf("rollout %s %s", short(doc.Revision), rolloutPhase(doc.Phase))
	if doc.Message != "" {
		line += ": " + oneLine(doc.Message)
	}
	switch doc.Phase {
	case phaseSucceeded:
		if doc.Reason != string(ReasonNotJoined) {
			return p.say(line)
		}
		p.quiet = false
		if err := p.say(line); err != nil {
			return err
		}
		return exitCode(exitPending)
	case phaseReplaced:
		if err := p.say(line, "a newer revision took its place: ktrdrctl history"); err != nil {
			return err
		}
		return exitCode(exitPending)
	}
	p.quiet = false
	if err := p.say(line); err != nil {
		return err
	}
	if (&document{Rollout: doc}).onlyUnreachable() {
		if err := p.say("nodes that were away get it as soon as they connect"); err != nil {
			return err
		}
		return exitCode(exitPending)
	}
	if err := c.whyFailed(cmd.Context(), p, doc); err != nil {
		return err
	}
	return exitCode(exitBlocked)
}

// whyFailed shows what the nodes that failed say, with the last lines of their logs.
func (c *controller) whyFailed(ctx context.Context, p printer, r *rolloutDoc) error {
	failed := map[string]bool{}
	for _, w := range r.Waves {
		for _, n := range w.Nodes {
			if n.Phase == phaseFailed {
				failed[n.Node] = true
			}
		}
	}
	d, err := c.document(ctx)
	if err != nil {
		return err
	}
	for i := range d.Nodes {
		if !failed[d.Nodes[i].Name] {
			continue
		}
		if err := p.say(d.Nodes[i].troubles(d)...); err != nil {
			return err
		}
	}
	return nil
}
