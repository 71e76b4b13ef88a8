package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) deployCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploy STACK [SERVICE|NODE]… [--tag TAG]",
		Short: "Bring an image tag to a stack, or deploy it again",
		Long: "Sets the image tag of a stack, of some of its services or on some nodes, as one commit in your name, and\n" +
			"shows the rollout until it has ended. Without --tag the newest revision is deployed again: what failed is\n" +
			"tried anew. A word behind the stack is a service of it or a node, whichever the fleet has.\n" +
			"^C leaves the rollout going.",
		Example: `ktrdrctl deploy core backend --tag sha-a1b2c3d
ktrdrctl deploy workers b --tag sha-a1b2c3d --why "try it on one node"
ktrdrctl deploy workers --tag sha-a1b2c3d --dry-run
ktrdrctl deploy workers b`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.complete(completeStack, completeServiceOrNode, nil),
	}
	f := addChangeFlags(cmd, s)
	tag := cmd.Flags().String("tag", "", "the image tag, such as sha-a1b2c3d")
	services := cmd.Flags().StringSlice("service", nil, "a service, where its name is a node's as well")
	nodes := cmd.Flags().StringSlice("node", nil, "a node, where its name is a service's as well")
	s.completeFlag(cmd, "node", completeNode)
	two := sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			t, err := c.aim(cmd.Context(), args, *services, *nodes)
			if err != nil {
				return err
			}
			return c.change(cmd, f, c.deployStep(t, *tag, f))
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			return s.deployByRepo(cmd, c, f, aim{stack: args[0], services: slices.Concat(*services, args[1:]), nodes: *nodes}, *tag)
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkTag(*tag); err != nil {
			return err
		}
		return s.run(two)(cmd, args)
	}
	return cmd
}

// checkTag wants what an image's reference may end with (OCI distribution spec).
func checkTag(tag string) error {
	bad := strings.ContainsFunc(tag, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	})
	if bad || len(tag) > 128 || strings.HasPrefix(tag, ".") || strings.HasPrefix(tag, "-") {
		return fmt.Errorf("--tag %s: write a tag such as sha-a1b2c3d, without the image's name", tag)
	}
	return nil
}

// aim is what a deployment is for.
type aim struct {
	stack           string
	services, nodes []string
}

// aim tells services from nodes by the fleet's state.
func (c *controller) aim(ctx context.Context, args, services, nodes []string) (aim, error) {
	t := aim{stack: args[0], services: services, nodes: nodes}
	if len(args) == 1 {
		return t, nil
	}
	d, err := c.document(ctx)
	if err != nil {
		return t, err
	}
	err = t.sort(d, args[1:])
	return t, err
}

// sort puts words where they belong.
func (t *aim) sort(d *document, words []string) error {
	services, nodes := d.serviceNames(t.stack), d.nodeNames()
	// Of a stack that no node has told of yet, the controller knows the services.
	known := slices.Contains(d.stackNames(), t.stack)
	for _, word := range words {
		isService, isNode := slices.Contains(services, word), slices.Contains(nodes, word)
		switch {
		case isService && isNode:
			return fmt.Errorf("%s is a service of %s and a node: write --service %s or --node %s", word, t.stack, word, word)
		case isService, !isNode && !known:
			t.services = append(t.services, word)
		case isNode:
			t.nodes = append(t.nodes, word)
		default:
			return fmt.Errorf("%q is neither a service of %s (%s) nor a node (%s)", word, t.stack, listed(services), listed(nodes))
		}
	}
	return nil
}

// deployStep is one request: several nodes have commas between them, which older controllers
// refuse.
func (c *controller) deployStep(t aim, tag string, f *changeFlags) step {
	req := &ktrdrv1.DeployRequest{Stack: t.stack, Services: t.services, Node: strings.Join(t.nodes, ","), Tag: tag, DryRun: f.dryRun, Why: f.why}
	return step{
		several: len(t.nodes) > 1,
		do:      func(ctx context.Context) (*ktrdrv1.ChangeResponse, error) { return c.Fleet.Deploy(ctx, req) },
		plan:    &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Deploy{Deploy: req}},
	}
}

func (s *session) rollbackCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Go back to an earlier revision",
		Long: "Makes a new commit with the content of an earlier one, by default the newest that was rolled out with\n" +
			"success before the head, and shows the rollout until it has ended. Nothing is taken out of the history.",
		Example: `ktrdrctl rollback
ktrdrctl rollback 3f2a9c1 --why "orders were lost"
ktrdrctl rollback --dry-run`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.complete(completeRevision),
	}
	f := addChangeFlags(cmd, s)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			req := &ktrdrv1.RollbackRequest{Revision: first(args), DryRun: f.dryRun, Why: f.why}
			return c.change(cmd, f, step{
				do:   func(ctx context.Context) (*ktrdrv1.ChangeResponse, error) { return c.Fleet.Rollback(ctx, req) },
				plan: &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Rollback{Rollback: req}},
			})
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			return s.rollbackByRepo(cmd, c, f, first(args))
		},
	})
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// listed joins names for people.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return oneLine(strings.Join(names, ", "))
}
