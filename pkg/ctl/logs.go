package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
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
			"Secrets are redacted on the nodes.",
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
				l := &logReader{
					controller: c, request: req, notes: cmd.ErrOrStderr(),
					out:    &logPrinter{out: cmd.OutOrStdout(), format: *format, times: *times},
					merger: &logmerge.Merger{Window: logWindow, Limit: logLimit},
				}
				return l.run(cmd.Context())
			},
			instead: "docker compose -p PROJECT logs -f on the node; ktrdrctl status -o json shows the project.",
		})(cmd, args)
	}
	return cmd
}

// logReader shows logs of several nodes, each line once.
type logReader struct {
	controller *controller
	request    *ktrdrv1.LogsRequest
	notes      io.Writer
	out        *logPrinter
	merger     *logmerge.Merger

	answers chan *ktrdrv1.LogsResponse
	ended   chan logEnd
	open    int
	away    map[string]bool
	shown   bool
}

// logEnd is the end of a stream; node is the one that it was for, empty for all.
type logEnd struct {
	node string
	err  error
}

func (l *logReader) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	follow := l.request.GetLogs().GetFollow()
	if !follow {
		l.merger.Window = 0 // all that comes is put in order
	}
	l.answers, l.ended, l.away = make(chan *ktrdrv1.LogsResponse), make(chan logEnd), map[string]bool{}
	l.start(ctx, "", l.request, 0)
	ticker := time.NewTicker(logWindow / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.print(l.merger.Drain())
		case a := <-l.answers:
			l.take(ctx, a)
		case end := <-l.ended:
			l.open--
			if done, err := l.onEnd(ctx, end); done {
				return errors.Join(l.print(l.merger.Drain()), err)
			}
		case <-ticker.C:
		}
		if err := l.print(l.merger.Ready(time.Now())); err != nil {
			return err
		}
	}
}

// start reads a stream after a pause; its goroutine ends with ctx or with the stream.
func (l *logReader) start(ctx context.Context, node string, req *ktrdrv1.LogsRequest, after time.Duration) {
	l.open++
	answers, ended, c := l.answers, l.ended, l.controller
	go func() {
		pause(ctx, after)
		err := ctx.Err()
		if err == nil {
			err = readLogs(ctx, c, req, answers)
		}
		select {
		case ended <- logEnd{node, err}:
		case <-ctx.Done():
		}
	}()
}

func readLogs(ctx context.Context, c *controller, req *ktrdrv1.LogsRequest, answers chan<- *ktrdrv1.LogsResponse) error {
	stream, err := c.Fleet.Logs(ctx, req)
	for err == nil {
		var a *ktrdrv1.LogsResponse
		if a, err = stream.Recv(); err != nil {
			break
		}
		select {
		case answers <- a:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return c.Explain(ctx, err)
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
		fmt.Fprintf(l.notes, "ktrdrctl: node %s: %s: %s\n", oneLine(n.GetNode()), oneLine(n.GetReason()), oneLine(n.GetMessage()))
	}
	if l.request.GetLogs().GetFollow() {
		l.away[n.GetNode()] = true
		l.merger.Resume(n.GetNode())
		l.start(ctx, n.GetNode(), l.again(n.GetNode()), lostPause)
	}
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
	case !l.request.GetLogs().GetFollow() && clean:
		return l.open == 0, nil
	case !clean && (!isAway(end.err) || !l.shown || !l.request.GetLogs().GetFollow()):
		return true, end.err
	case end.node == "" && clean:
		// All nodes ended it: those that went away are asked again by name.
		return l.open == 0, nil
	case !clean && end.node == "":
		fmt.Fprintln(l.notes, "ktrdrctl: the controller does not answer; waiting for it")
		l.merger.Resume("")
	}
	if !clean {
		l.start(ctx, end.node, l.again(end.node), lostPause)
	}
	return l.open == 0, nil
}

func (l *logReader) print(lines []logmerge.Line) error {
	for i := range lines {
		if err := l.out.print(&lines[i]); err != nil {
			return err
		}
	}
	return nil
}

// logPrinter writes lines with where they come from.
type logPrinter struct {
	out    io.Writer
	format string
	times  bool
	colour map[string]string
	width  int
}

// logDoc is a line of `ktrdrctl logs -o json`.
type logDoc struct {
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Stack     string    `json:"stack"`
	Service   string    `json:"service"`
	Container string    `json:"container"`
	Stream    string    `json:"stream"`
	Text      string    `json:"text"`
}

func (p *logPrinter) print(l *logmerge.Line) error {
	if p.format == formatJSON {
		doc := logDoc{Time: l.Time, Node: l.Node, Stack: l.Stack, Service: l.Service, Container: l.Container, Stream: "stdout", Text: l.Text}
		if l.Stderr {
			doc.Stream = "stderr"
		}
		return json.NewEncoder(p.out).Encode(doc)
	}
	prefix := oneLine(l.Node + " " + l.Container)
	p.width = max(p.width, cellWidth(prefix))
	text := p.paint(prefix) + strings.Repeat(" ", p.width-cellWidth(prefix)) + " | "
	if p.times {
		text += dim(l.Time.Local().Format("2006-01-02 15:04:05.000")) + " "
	}
	_, err := lipgloss.Fprintln(p.out, text+strings.ReplaceAll(printable(l.Text), "\n", " "))
	return err
}

// paint gives each container a colour of its own, as long as there are.
func (p *logPrinter) paint(prefix string) string {
	colours := []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}
	if p.colour == nil {
		p.colour = map[string]string{}
	}
	if p.colour[prefix] == "" {
		p.colour[prefix] = colours[len(p.colour)%len(colours)]
	}
	return paint(p.colour[prefix], prefix)
}
