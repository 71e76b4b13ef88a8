package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/ctl/internal/logmerge"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// logWindow is how long a line waits for earlier ones of other nodes.
	logWindow = 300 * time.Millisecond
	// logLimit bounds the lines that wait, in bytes.
	logLimit = 64 << 20
	// logOverlap is how much of the past a node is asked for again: what it had not sent yet
	// when the connection ended.
	logOverlap = 5 * time.Second
	// maxTail is what nodes send at most of a container's past, in lines.
	maxTail = 10_000
)

func (s *session) logsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs STACK [SERVICE…]",
		Short: "What containers print, of several nodes at once",
		Long: "Shows the logs of a stack or of some of its services on all connected nodes that have it, or on some, by\n" +
			"time. With -f it goes on, also with containers that come, and when a node was away meanwhile.\n" +
			"Secrets are redacted on the nodes. One agent tells only those who may open its Unix socket.",
		Example: `ktrdrctl logs core backend --tail 100
ktrdrctl logs -f workers --node b --node c
ktrdrctl logs workers --since 10m -o json`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.complete(completeStack, completeService, nil),
	}
	format := output(cmd, formatText, formatJSON)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with new lines, until interrupted")
	tail := cmd.Flags().Int32("tail", 100, "the last lines of each container, at most 10000; -1 for all (10000 with --since)")
	sinceText := cmd.Flags().String("since", "", "only lines from then on: a duration such as 10m, or a time such as 2026-01-31T12:00:00Z")
	times := cmd.Flags().BoolP("timestamps", "t", false, "show when each line was printed")
	nodes := s.nodeFlag(cmd)
	show := func(cmd *cobra.Command, who string, read logSource, req *ktrdrv1.LogsRequest) error {
		l := &logReader{
			read: read, who: who, request: req, notes: cmd.ErrOrStderr(),
			out:    &logPrinter{out: cmd.OutOrStdout(), format: *format, times: *times},
			merger: &logmerge.Merger{Window: logWindow, Limit: logLimit},
		}
		return l.run(cmd.Context())
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := parseSince(time.Now(), *sinceText)
		if err != nil {
			return err
		}
		if *tail > maxTail {
			return fmt.Errorf("--tail %d: at most %d lines, or -1 for all", *tail, maxTail)
		}
		if *sinceText != "" && !cmd.Flags().Changed("tail") {
			*tail = maxTail
		}
		req := &ktrdrv1.LogsRequest{
			Logs:  &ktrdrv1.LogsCommand{Stack: args[0], Services: args[1:], Tail: *tail, Since: wire.Timestamp(from), Follow: *follow},
			Nodes: *nodes,
		}
		return s.run(sides{
			fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
				return show(cmd, "controller", c.readLogs, req)
			},
			agent: func(cmd *cobra.Command, c *client, _ []string) error {
				if len(*nodes) > 0 {
					return errors.New("--node is for a fleet; an agent tells of its own node")
				}
				return show(cmd, "agent", c.readLogs, req)
			},
		})(cmd, args)
	}
	return cmd
}

// logSource gives lines to take until there are no more, which is io.EOF.
type logSource func(ctx context.Context, req *ktrdrv1.LogsRequest, take func(*ktrdrv1.LogsResponse)) error

// logReader shows logs of several nodes, each line once.
type logReader struct {
	read    logSource
	who     string // is asked: controller or agent
	request *ktrdrv1.LogsRequest
	notes   io.Writer
	out     *logPrinter
	merger  *logmerge.Merger

	answers chan logAnswer
	ended   chan logEnd
	// round counts how often all was begun again; what comes of streams of earlier rounds is
	// left out, and endRound ends them.
	round    int
	endRound context.CancelFunc
	open     int // streams of this round
	away     map[string]bool
	shown    bool
	lacks    bool // a node can't send any
}

// logAnswer is what a stream of a round brought.
type logAnswer struct {
	*ktrdrv1.LogsResponse
	round int
}

// logEnd is the end of a stream; node is the one that it was for, empty for all.
type logEnd struct {
	node  string
	round int
	err   error
}

func (l *logReader) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	follow := l.request.GetLogs().GetFollow()
	if !follow {
		l.merger.Window = 0 // all that comes is put in order
	}
	l.answers, l.ended, l.away = make(chan logAnswer), make(chan logEnd), map[string]bool{}
	within := l.begin(ctx, l.request, 0)
	defer func() { l.endRound() }()
	ticker := time.NewTicker(logWindow / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.print(l.merger.Drain())
		case a := <-l.answers:
			if a.round == l.round {
				l.take(within, a.LogsResponse)
			}
		case end := <-l.ended:
			if end.round != l.round {
				continue
			}
			l.open--
			if end.node == "" && l.isLost(end.err) {
				within = l.beginAgain(ctx)
				continue
			}
			if done, err := l.onEnd(within, end); done {
				if err == nil && l.lacks && ctx.Err() == nil {
					err = exitCode(exitPending)
				}
				return errors.Join(l.print(l.merger.Drain()), err)
			}
		case <-ticker.C:
		}
		if err := l.print(l.merger.Ready(time.Now())); err != nil {
			return err
		}
	}
}

// begin ends all streams and reads one for all nodes; the context is that of the round.
func (l *logReader) begin(ctx context.Context, req *ktrdrv1.LogsRequest, after time.Duration) context.Context {
	if l.endRound != nil {
		l.endRound()
	}
	within, cancel := context.WithCancel(ctx)
	l.endRound, l.open = cancel, 0
	l.round++
	l.start(within, "", req, after)
	return within
}

// beginAgain is for a controller that went away.
func (l *logReader) beginAgain(ctx context.Context) context.Context {
	fmt.Fprintln(l.notes, "ktrdrctl: the "+l.who+" does not answer; waiting for it")
	l.merger.Resume("")
	return l.begin(ctx, l.again(""), lostPause)
}

// isLost says that the connection ended, and that it is worth to wait for another one.
func (l *logReader) isLost(err error) bool {
	return isAway(err) && l.shown && l.request.GetLogs().GetFollow()
}

// start reads a stream after a pause; its goroutine ends with ctx or with the stream.
func (l *logReader) start(ctx context.Context, node string, req *ktrdrv1.LogsRequest, after time.Duration) {
	l.open++
	answers, ended, read, round := l.answers, l.ended, l.read, l.round
	go func() {
		pause(ctx, after)
		err := ctx.Err()
		if err == nil {
			err = read(ctx, req, func(a *ktrdrv1.LogsResponse) {
				select {
				case answers <- logAnswer{a, round}:
				case <-ctx.Done():
				}
			})
		}
		select {
		case ended <- logEnd{node, round, err}:
		case <-ctx.Done():
		}
	}()
}

// take keeps lines, and asks a node again that went away.
func (l *logReader) take(ctx context.Context, a *ktrdrv1.LogsResponse) {
	l.shown = true
	if dropped := a.GetLogs().GetDropped(); dropped > 0 {
		fmt.Fprintf(l.notes, "ktrdrctl: %s were left out: they came faster than they could be read\n", counted(int(min(dropped, 1<<30)), "line")) //nolint:gosec // bounded
	}
	for _, line := range a.GetLogs().GetLines() {
		if l.away[line.GetNode()] {
			delete(l.away, line.GetNode())
			fmt.Fprintf(l.notes, "ktrdrctl: node %s is back\n", oneLine(line.GetNode()))
		}
		l.merger.Add(time.Now(), logmerge.Line{
			Node: line.GetNode(), Stack: line.GetStack(), Service: line.GetService(), Container: line.GetContainer(),
			Time: wire.Time(line.GetTime()), Stderr: line.GetStderr(), Text: line.GetText(),
		})
	}
	n := a.GetNode()
	if n == nil {
		return
	}
	if !l.away[n.GetNode()] && n.GetReason() != "" {
		fmt.Fprintf(l.notes, "ktrdrctl: node %s: %s: %s\n", oneLine(n.GetNode()), oneLine(n.GetReason()), withoutNode(n))
	}
	follow := l.request.GetLogs().GetFollow()
	l.lacks = l.lacks || n.GetReason() != "" && (!follow || isForGood(n.GetReason()))
	if follow && !isForGood(n.GetReason()) {
		l.away[n.GetNode()] = true
		l.merger.Resume(n.GetNode())
		l.start(ctx, n.GetNode(), l.again(n.GetNode()), lostPause)
	}
}

// isForGood says that a node would answer the same again.
func isForGood(reason string) bool {
	switch reason {
	case "CommandUnsupported", "Unsupported", "InvalidCommand":
		return true
	}
	return false
}

// withoutNode is a message that may begin with its node's name, which stands beside it.
func withoutNode(n *ktrdrv1.NodeResult) string {
	return strings.TrimPrefix(oneLine(n.GetMessage()), "node "+oneLine(n.GetNode())+": ")
}

// again is the request for what comes after the last lines of a node, of all when it is
// empty.
func (l *logReader) again(node string) *ktrdrv1.LogsRequest {
	req := proto.CloneOf(l.request)
	last := l.merger.Oldest()
	if node != "" {
		req.Nodes, last = []string{node}, l.merger.Newest(node)
	}
	if !last.IsZero() {
		req.Logs.Since, req.Logs.Tail = timestamppb.New(last.Add(-logOverlap)), -1
	}
	return req
}

// onEnd decides whether the end of a stream is the end of all.
func (l *logReader) onEnd(ctx context.Context, end logEnd) (bool, error) {
	clean := errors.Is(end.err, io.EOF)
	switch {
	case ctx.Err() != nil:
		return true, nil //nolint:nilerr // the user ended it
	case clean:
		// All nodes ended it: those that went away are asked again by name.
		return l.open == 0, nil
	case !l.isLost(end.err):
		return true, end.err
	}
	l.merger.Resume(end.node)
	l.start(ctx, end.node, l.again(end.node), lostPause)
	return false, nil
}

func (l *logReader) print(lines []logmerge.Line) error {
	for i := range lines {
		if err := l.out.print(&lines[i]); err != nil {
			return err
		}
	}
	return nil
}
