package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
)

// clone is a clone of the repository that an agent follows: where there is no controller,
// changes are commits that are made here and pushed.
type clone struct {
	ctx context.Context //nolint:containedctx // of one command
	dir string          // with fleet.yaml
	// temporary: the clone is ours and goes away.
	temporary string
}

// edited is what a change does to the clone's files.
type edited struct {
	subject string
	summary []string
	notes   []desired.Problem
}

// openClone wants a clone without changes of its own, at the newest commit: the user's with
// --repo, else a new one of what the agent says that it follows.
func (s *session) openClone(cmd *cobra.Command, agent *client) (*clone, error) {
	if s.repo == "" {
		return s.newClone(cmd, agent)
	}
	dir, err := filepath.Abs(s.repo)
	if err != nil {
		return nil, fmt.Errorf("--repo %s: %w", s.repo, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "fleet.yaml")); err != nil {
		return nil, fmt.Errorf("--repo %s: there is no fleet.yaml: is it the folder with the desired state?", s.repo)
	}
	c := &clone{ctx: cmd.Context(), dir: dir}
	status, err := c.git("status", "--porcelain")
	if err != nil {
		return nil, err
	}
	if status != "" {
		return nil, fmt.Errorf("--repo %s has changes of its own: commit them, or git stash", s.repo)
	}
	if _, err := c.git("pull", "--ff-only", "--quiet"); err != nil {
		return nil, fmt.Errorf("bring the clone up to date: %w", err)
	}
	return c, nil
}

func (c *clone) git(args ...string) (string, error) {
	out, err := runGit(c.ctx, c.dir, args...)
	return strings.TrimRight(out, "\n"), err
}

// restore takes back what was not committed. The clone had no changes of its own.
func (c *clone) restore() {
	restored := *c
	restored.ctx = context.WithoutCancel(c.ctx)
	_, _ = restored.git("restore", "--source", "HEAD", "--staged", "--worktree", "--", ".")
}

// take writes what package edit made.
func (c *clone) take(r edit.Result, done *edited) error {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return fmt.Errorf("open clone: %w", err)
	}
	defer root.Close() //nolint:errcheck // files are closed
	for _, e := range r.Edits {
		if err := root.WriteFile(e.Path, e.After, 0o644); err != nil { //nolint:gosec // a file of a repository; an existing one keeps its mode
			return fmt.Errorf("change clone: %w", err)
		}
		done.summary = append(done.summary, e.Summary)
	}
	done.notes = append(done.notes, r.Notes...)
	return nil
}

// changeClone edits the clone, checks the result, commits it in the user's name, pushes it
// and waits for the agent.
func (s *session) changeClone(cmd *cobra.Command, c *client, f *changeFlags, change func(*clone) (edited, error)) error {
	repo, err := s.openClone(cmd, c)
	if err != nil {
		return err
	}
	defer repo.close()
	p := printer{cmd.OutOrStdout(), f.quiet}
	revision, err := repo.commit(p, f, change)
	if err != nil || revision == "" {
		return err
	}
	if f.noWait {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), revision)
		return err
	}
	return c.awaitRevision(cmd, f, revision)
}

// commit returns the new revision; empty when nothing changed.
func (c *clone) commit(p printer, f *changeFlags, change func(*clone) (edited, error)) (string, error) {
	done, err := change(c)
	if err == nil {
		err = c.validate()
	}
	if err != nil || f.dryRun {
		defer c.restore()
	}
	if err != nil {
		return "", placed(err)
	}
	if err := c.announce(p, f, done); err != nil || f.dryRun {
		return "", err
	}
	if clean, err := c.git("status", "--porcelain"); err != nil || clean == "" {
		return "", errors.Join(err, p.say("nothing changes"))
	}
	args := []string{"commit", "--quiet", "--all", "-m", done.subject}
	if f.why != "" {
		args = append(args, "-m", f.why)
	}
	if len(done.summary) > 0 {
		args = append(args, "-m", strings.Join(done.summary, "\n"))
	}
	if _, err := c.git(args...); err != nil {
		c.restore()
		return "", err
	}
	revision, err := c.git("rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	if _, err := c.git("push", "--quiet"); err != nil && c.temporary != "" {
		return "", fmt.Errorf("nothing was changed: %w\n  May you push there, and has nobody else pushed meanwhile? Try again, or write --repo DIR with a clone of yours", err)
	} else if err != nil {
		return "", fmt.Errorf("commit %s is made and not pushed; push it, or take it back with git reset --keep HEAD~1: %w", short(revision), err)
	}
	return revision, p.say("revision " + short(revision) + " is pushed")
}

func (c *clone) validate() error {
	_, err := desired.Validate(c.ctx, c.dir)
	return err
}

func (c *clone) announce(p printer, f *changeFlags, done edited) error {
	for _, line := range done.summary {
		if err := p.say(oneLine(line)); err != nil {
			return err
		}
	}
	for _, n := range done.notes {
		if err := p.say(busy("warning: ") + oneLine(n.String())); err != nil {
			return err
		}
	}
	if !f.dryRun {
		return nil
	}
	diff, err := c.git("diff", "HEAD", "--", ".")
	if err != nil {
		return err
	}
	if diff == "" {
		return p.say("nothing would change")
	}
	return p.say(diffText(diff))
}

// placed says each problem with its place.
func placed(err error) error {
	invalid, ok := errors.AsType[*desired.Error](err)
	if !ok {
		return err
	}
	lines := []string{"the state would be invalid; nothing was changed"}
	for _, p := range invalid.Problems {
		lines = append(lines, "  "+oneLine(p.String()))
	}
	return errors.New(strings.Join(lines, "\n"))
}
