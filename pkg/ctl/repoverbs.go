package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/edit"
)

func (s *session) scaleByRepo(cmd *cobra.Command, c *client, f *changeFlags, pools []poolScale, nodes []string) error {
	var words []string
	var scales []edit.Scale
	for _, p := range pools {
		words = append(words, p.String())
		for _, node := range nodes {
			scales = append(scales, edit.Scale{Node: node, Pool: p.pool, Size: int(p.count)})
		}
	}
	return s.changeClone(cmd, c, f, func(repo *clone) (edited, error) {
		done := edited{subject: "scale " + strings.Join(words, " ") + " on " + strings.Join(nodes, ", ")}
		r, err := edit.SetScale(repo.dir, scales...)
		if err == nil {
			err = repo.take(r, &done)
		}
		return done, err
	})
}

func (s *session) deployByRepo(cmd *cobra.Command, c *client, f *changeFlags, t aim, tag string) error {
	if tag == "" {
		return errors.New("--tag: write the tag. To try again what failed: ktrdrctl resume STACK")
	}
	st, err := c.status(cmd.Context())
	if err != nil {
		return err
	}
	words := t.services
	t.services = nil
	// A word that nobody knows is a service that does not run yet: package edit tells.
	for _, word := range words {
		if word == st.Node && !slices.Contains(ofAgent(st).serviceNames(t.stack), word) {
			t.nodes = append(t.nodes, word)
		} else {
			t.services = append(t.services, word)
		}
	}
	return s.changeClone(cmd, c, f, func(repo *clone) (edited, error) {
		done := edited{subject: strings.Join(slices.Concat([]string{"deploy", t.stack}, t.services, t.nodes, []string{tag}), " ")}
		r, err := edit.SetTag(repo.dir, edit.Target{Stack: t.stack, Services: t.services, Nodes: t.nodes, Along: true}, tag)
		if err == nil {
			err = repo.take(r, &done)
		}
		return done, err
	})
}

func (s *session) rollbackByRepo(cmd *cobra.Command, c *client, f *changeFlags, revision string) error {
	return s.changeClone(cmd, c, f, func(repo *clone) (edited, error) {
		revision, err := repo.target(c, revision)
		if err != nil {
			return edited{}, err
		}
		if _, err := repo.git("restore", "--source", revision, "--staged", "--worktree", "--", "."); err != nil {
			return edited{}, err
		}
		subject := "roll back to " + short(revision)
		return edited{subject: subject, summary: []string{subject}}, nil
	})
}

// target is the revision to go back to: the one that was asked for, or the one that the
// agent knows to be good.
func (c *clone) target(from *client, revision string) (string, error) {
	if revision == "" {
		st, err := from.status(c.ctx)
		if err != nil {
			return "", err
		}
		head, err := c.git("rev-parse", "HEAD")
		if err != nil {
			return "", err
		}
		if revision = lastGood(st, head); revision == "" {
			return "", errors.New("the agent knows no earlier revision that was good: write one (git log shows them)")
		}
	}
	if strings.HasPrefix(revision, "-") {
		return "", fmt.Errorf("%q is no revision", revision)
	}
	return c.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
}

// lastGood is the revision that all stacks are known to have run well, other than the head.
func lastGood(st *api.NodeStatus, head string) string {
	good := ""
	for i := range st.Stacks {
		r := st.Stacks[i].Rollout
		switch {
		case r == nil || r.Good == "" || r.Good == head:
		case good != "" && good != r.Good:
			return ""
		default:
			good = r.Good
		}
	}
	return good
}

// awaitRevision waits until the agent has seen a revision and nothing changes any more
// without somebody acting, and shows the status.
func (c *client) awaitRevision(cmd *cobra.Command, f *changeFlags, revision string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), f.limit)
	defer cancel()
	if err := c.post(ctx, "/v1/sync", nil); err != nil {
		return err
	}
	for {
		st, err := c.status(ctx)
		switch {
		case errors.Is(cmd.Context().Err(), context.Canceled):
			return goesOn(cmd, revision, "interrupted")
		case ctx.Err() != nil:
			return goesOn(cmd, revision, "not finished within "+f.limit.String())
		case err != nil && !isAway(err):
			return err
		case err == nil && st.SourceRevision == revision && isSettled(st):
			if f.quiet && statusCode(st) == exitOK {
				return nil
			}
			return show(view{cmd.OutOrStdout(), formatTable}, ofAgent(st), nil, nil)
		}
		pause(ctx, syncPoll)
	}
}
