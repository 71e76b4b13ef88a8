package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// lostLimit is how long a controller that went away is waited for.
	lostLimit = 2 * time.Minute
	// recordLimit is how long a rollout may take to be there after its commit.
	recordLimit = 20 * time.Second
)

// follow shows a rollout until it has ended. A controller that restarts meanwhile is waited
// for: the rollout is its record, not this connection's.
func (c *controller) follow(ctx context.Context, revision string, pr *progress) (*ktrdrv1.Rollout, error) {
	var lost time.Time
	began := time.Now()
	for {
		last, err := c.followOnce(ctx, revision, pr)
		if hasEnded(last) {
			return last, nil
		}
		if last != nil {
			lost = time.Time{}
		}
		refused, isRefused := errors.AsType[*remote.RefusedError](err)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case isRefused && refused.Code == codes.NotFound && time.Since(began) < recordLimit:
		case !isAway(err) && !errors.Is(err, io.EOF):
			return nil, err
		case lost.IsZero():
			lost = time.Now()
			pr.note("the connection to the controller ended; the rollout goes on, waiting for the controller")
		case time.Since(lost) > lostLimit:
			return nil, err
		}
		pause(ctx, lostPause)
	}
}

// followOnce returns the last that it was told, and why that was all.
func (c *controller) followOnce(ctx context.Context, revision string, pr *progress) (*ktrdrv1.Rollout, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Fleet.WatchRollout(ctx, &ktrdrv1.WatchRolloutRequest{Revision: revision})
	if err != nil {
		return nil, c.Explain(ctx, err)
	}
	var last *ktrdrv1.Rollout
	for {
		r, err := stream.Recv()
		if err != nil {
			return last, c.Explain(ctx, err)
		}
		last = r
		pr.show(toRollout(r))
		if hasEnded(r) {
			return r, nil
		}
	}
}

func hasEnded(r *ktrdrv1.Rollout) bool {
	switch r.GetPhase() {
	case phaseSucceeded, phaseFailed, phaseReplaced:
		return true
	}
	return false
}

// progress shows a rollout on its way: over and over in one place on a terminal, one line
// for each change elsewhere.
type progress struct {
	out      io.Writer
	quiet    bool
	terminal bool
	lines    int // on the terminal, of the last picture
	last     map[string]string
}

func newProgress(cmd *cobra.Command, quiet bool) *progress { //nolint:revive // the flag of the command
	return &progress{out: cmd.OutOrStdout(), quiet: quiet, terminal: isTerminal(cmd.OutOrStdout()), last: map[string]string{}}
}

func (p *progress) show(r *rolloutDoc) {
	switch {
	case p.quiet:
	case p.terminal:
		p.paint(r)
	default:
		p.append(r)
	}
}

// paint replaces the picture before.
func (p *progress) paint(r *rolloutDoc) {
	width, _ := terminalSize(p.out)
	lines := []string{"rollout " + short(r.Revision) + " " + rolloutPhase(r.Phase)}
	for i, w := range r.Waves {
		lines = append(lines, fmt.Sprintf("  wave %d of %d %s %s", i+1, len(r.Waves), dash(w.Name), wavePhase(w.Phase)))
		if w.Phase == "waiting" {
			continue
		}
		for j := range w.Nodes {
			lines = append(lines, "    "+w.Nodes[j].text())
		}
	}
	begin := "\r"
	if p.lines > 1 {
		begin = fmt.Sprintf("\x1b[%dA\r", p.lines-1)
	}
	_ = paintLines(p.out, begin, lines, width)
	p.lines = len(lines)
}

// append prints what is new.
func (p *progress) append(r *rolloutDoc) {
	for i, w := range r.Waves {
		p.line("wave "+w.Name, fmt.Sprintf("wave %d of %d %s %s", i+1, len(r.Waves), dash(w.Name), wavePhase(w.Phase)))
		for j := range w.Nodes {
			if n := &w.Nodes[j]; n.Phase != "waiting" {
				p.line("node "+n.Node, "  "+n.text())
			}
		}
	}
}

func (p *progress) line(key, text string) {
	if p.last[key] == text {
		return
	}
	p.last[key] = text
	_, _ = lipgloss.Fprintln(p.out, text)
}

// note is for what is not the rollout's.
func (p *progress) note(text string) {
	if p.quiet {
		return
	}
	p.done()
	_, _ = lipgloss.Fprintln(p.out, busy(text))
}

// done goes to the line after the picture.
func (p *progress) done() {
	if p.lines > 0 {
		_, _ = io.WriteString(p.out, "\r\n")
	}
	p.lines = 0
}

// text is one node in a line.
func (n *progressDoc) text() string {
	text := fmt.Sprintf("%s %s %d/%d", oneLine(n.Node), nodePhase(n.Phase), n.Converged, n.Stacks)
	if n.Reason != "" && n.Phase != "converged" {
		text += " " + oneLine(n.Reason)
	}
	if n.Message != "" {
		text += ": " + oneLine(n.Message)
	}
	return text
}

func wavePhase(phase string) string {
	switch phase {
	case phaseSucceeded:
		return good(phase)
	case phaseFailed:
		return bad(phase)
	}
	return busy(oneLine(phase))
}

func nodePhase(phase string) string {
	switch phase {
	case "converged":
		return good(phase)
	case phaseFailed, "unreachable":
		return bad(phase)
	}
	return busy(oneLine(phase))
}
