package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Nodes of the fleet: list, join, cordon, remove",
		Args:  cobra.NoArgs,
		Example: `ktrdrctl node list
ktrdrctl node join-token d -o token
ktrdrctl node cordon b --why "new disk"`,
	}
	cmd.AddCommand(s.nodeListCommand(), s.joinTokenCommand(), s.cordonCommand(), s.uncordonCommand(), s.nodeRemoveCommand())
	return cmd
}

func (s *session) nodeListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"},
		Short:   "Nodes of the desired state and nodes that joined",
		Long:    "Lists nodes with their agents. ktrdrctl status says how what runs on them is.",
		Example: "ktrdrctl node list\nktrdrctl node list -o json",
		Args:    cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			var nodes []nodeDoc
			now := time.Now()
			err := c.call(cmd.Context(), 0, func(ctx context.Context) error {
				r, err := c.Nodes.ListNodes(ctx, &ktrdrv1.ListNodesRequest{})
				nodes = each(r.GetNodes(), func(n *ktrdrv1.Node) nodeDoc { return toNode(n, now) })
				return err
			})
			if err != nil {
				return err
			}
			return (view{cmd.OutOrStdout(), *format}).nodes(nodes, now)
		},
		instead: "ktrdrctl status shows this node.",
	})
	return cmd
}

// nodeLine is a node without a status.
type nodeLine struct {
	Name            string     `json:"name"`
	Hostname        string     `json:"hostname,omitzero"`
	Joined          bool       `json:"joined"`
	Desired         bool       `json:"desired"`
	Connected       bool       `json:"connected"`
	Seen            time.Time  `json:"seenAt,omitzero"`
	Address         string     `json:"address,omitzero"`
	Version         string     `json:"version,omitzero"`
	Cordon          *cordonDoc `json:"cordon,omitzero"`
	Target          string     `json:"target,omitzero"`
	CertificateEnds time.Time  `json:"certificateEndsAt,omitzero"`
}

func (v view) nodes(nodes []nodeDoc, now time.Time) error {
	lines := []nodeLine{}
	var rows [][]string
	for i := range nodes {
		n := &nodes[i]
		lines = append(lines, nodeLine{
			Name: n.Name, Hostname: n.Hostname, Joined: n.Joined, Desired: n.Desired, Connected: n.Connected, Seen: n.Seen, Address: n.Address,
			Version: n.Version, Cordon: n.Cordon, Target: n.Target, CertificateEnds: n.CertificateEnds,
		})
		state := good("connected")
		switch {
		case !n.Joined:
			state = busy("not joined")
		case !n.Connected:
			state = bad("not connected")
		}
		if !n.Desired {
			state += ", " + busy("not in the desired state")
		}
		certificate := (&document{Time: now}).until(n)
		rows = append(rows, []string{
			oneLine(n.Name), dash(n.Hostname), state, dash(n.Version), dash(n.Address), certificate, since(now, n.Seen), dash(strings.Join(nodeNotes(n), "; ")),
		})
	}
	if v.format != formatTable {
		return v.data(lines)
	}
	if len(rows) == 0 {
		return v.line("no nodes: ktrdrctl node join-token NAME")
	}
	_, err := lipgloss.Fprintln(v.out, columns([]string{"NODE", "HOSTNAME", "STATE", "AGENT", "ADDRESS", "CERTIFICATE", "SEEN", "NOTE"}, rows))
	return err
}

func (s *session) joinTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join-token NAME",
		Short: "Make a one-time token with which a node joins",
		Long: "Makes a token for the agent of one node. It is shown once, good for one node and one time. With -o it goes to\n" +
			"a file that only you can read, and nowhere else.",
		Example: `ktrdrctl node join-token d -o join-token
ktrdrctl node join-token d --ttl 15m | ssh root@d 'umask 077; cat >/etc/ktrdr/join-token'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeNode),
	}
	ttl := cmd.Flags().Duration("ttl", time.Hour, "how long it is good for, at most 168h")
	file := cmd.Flags().StringP("output", "o", "", "write it to this file")
	two := sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			var r *ktrdrv1.CreateJoinTokenResponse
			err := c.call(cmd.Context(), 0, func(ctx context.Context) (err error) {
				r, err = c.Nodes.CreateJoinToken(ctx, &ktrdrv1.CreateJoinTokenRequest{Node: args[0], TtlSeconds: int64(ttl.Seconds())})
				return err
			})
			if err != nil {
				return err
			}
			if err := deliver(cmd, *file, []byte(r.GetJoinToken()+"\n")); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "good once for node %s until %s\n", args[0], wire.Time(r.GetExpires()).Local().Format(time.DateTime))
			return nil
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *ttl < time.Second || *ttl > 7*24*time.Hour {
			return fmt.Errorf("--ttl %s: write a duration from 1s to 168h", *ttl)
		}
		if err := canDeliver(*file); err != nil {
			return err
		}
		return s.run(two)(cmd, args)
	}
	return cmd
}

// canDeliver says before anything is made whether it can be written.
func canDeliver(file string) error {
	if file == "" {
		return nil
	}
	if err := contexts.CheckPrivate(file); err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// deliver writes what is shown once to a private file, or to the output.
func deliver(cmd *cobra.Command, file string, text []byte) error {
	if file == "" {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	if err := contexts.WritePrivate(file, text); err != nil {
		return fmt.Errorf("it was made, and can't be written: %w\n  Make it again", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "written to %s\n", file)
	return nil
}

func (s *session) cordonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cordon NODE --why TEXT",
		Short: "Keep new revisions from a node",
		Long: "The node keeps what it has, and repairs it; rollouts leave it out until ktrdrctl node uncordon.\n" +
			"To suspend repairs as well: ktrdrctl hold.",
		Example:           `ktrdrctl node cordon b --why "new disk"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeNode),
	}
	why := cmd.Flags().String("why", "", "the reason, for those who find the node cordoned")
	two := sides{fleet: func(cmd *cobra.Command, c *controller, args []string) error {
		return c.tell(cmd, "node "+args[0]+" gets no new revisions until ktrdrctl node uncordon "+args[0], func(ctx context.Context) error {
			_, err := c.Nodes.Cordon(ctx, &ktrdrv1.CordonRequest{Node: args[0], Why: *why})
			return err
		})
	}}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *why == "" {
			return errors.New("--why: say why, for those who find the node cordoned")
		}
		return s.run(two)(cmd, args)
	}
	return cmd
}

func (s *session) uncordonCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "uncordon NODE",
		Short:             "End a cordon; the node gets the newest revision",
		Example:           "ktrdrctl node uncordon b",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeNode),
		RunE: s.run(sides{fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			return c.tell(cmd, "node "+args[0]+" gets new revisions again", func(ctx context.Context) error {
				_, err := c.Nodes.Uncordon(ctx, &ktrdrv1.UncordonRequest{Node: args[0]})
				return err
			})
		}}),
	}
}

func (s *session) nodeRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Revoke a node's certificate and forget it",
		Long: "Its agent can't connect any more and goes on with what it has; its containers run on. Take nodes/NODE.yaml out\n" +
			"of the repository as well. It comes back with ktrdrctl node join-token.",
		Example:           "ktrdrctl node remove d",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeNode),
	}
	yes := cmd.Flags().Bool("yes", false, "don't ask")
	cmd.RunE = s.run(sides{fleet: func(cmd *cobra.Command, c *controller, args []string) error {
		if err := confirm(cmd, *yes, args[0], "node "+args[0]+" can't connect any more"); err != nil {
			return err
		}
		return c.tell(cmd, "node "+args[0]+" is removed; its containers run on", func(ctx context.Context) error {
			_, err := c.Nodes.RemoveNode(ctx, &ktrdrv1.RemoveNodeRequest{Node: args[0]})
			return err
		})
	}})
	return cmd
}

// tell runs a request that has no answer but success, and says so.
func (c *controller) tell(cmd *cobra.Command, done string, do func(context.Context) error) error {
	if err := c.call(cmd.Context(), nodePatience, do); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), printable(done))
	return err
}

// confirm wants the name typed, where somebody can type it.
func confirm(cmd *cobra.Command, yes bool, name, effect string) error { //nolint:revive // the flag of the command
	if yes {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return fmt.Errorf("%s: write --yes to do it without being asked", effect)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s. Type %s to do it: ", effect, name)
	answer, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1024)).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != name {
		return errors.New("not done")
	}
	return nil
}
