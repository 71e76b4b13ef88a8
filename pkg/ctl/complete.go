package ctl

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// completeTimeout bounds what a shell waits for at a press of a key.
const completeTimeout = 2 * time.Second

// completer returns what an argument may be, given those before it.
type completer func(ctx context.Context, s *session, args []string) []string

// complete completes arguments by their position; the last one counts for all that follow
// when nil stands behind it. Who does not answer completes nothing.
func (s *session) complete(by ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		at := len(args)
		if last := len(by) - 1; last > 0 && at >= last && by[last] == nil {
			at = last - 1
		}
		if at >= len(by) || by[at] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		found := by[at](ctx, s, args)
		found = slices.DeleteFunc(found, func(name string) bool { return slices.Contains(args, name) })
		slices.Sort(found)
		return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes the value of a flag.
func (s *session) completeFlag(cmd *cobra.Command, flag string, by completer) {
	_ = cmd.RegisterFlagCompletionFunc(flag, s.complete(by, nil))
}

// look is the state of who is asked, or an empty one.
func (s *session) look(ctx context.Context) *document {
	where, err := s.where()
	if err != nil {
		return &document{}
	}
	if where.Controller == "" {
		c, err := newClient(where.Agent, completeTimeout)
		if err != nil {
			return &document{}
		}
		st, err := c.status(ctx)
		if err != nil {
			return &document{}
		}
		return ofAgent(st)
	}
	c, err := s.dialController(where)
	if err != nil {
		return &document{}
	}
	defer c.Close()
	d, err := c.document(ctx)
	if err != nil {
		return &document{}
	}
	return d
}

func completeNode(ctx context.Context, s *session, _ []string) []string {
	return s.look(ctx).nodeNames()
}

func completeStack(ctx context.Context, s *session, _ []string) []string {
	return s.look(ctx).stackNames()
}

func completeStackOfNode(ctx context.Context, s *session, args []string) []string {
	d := s.look(ctx)
	if d.narrow(args[:1]) != nil {
		return nil
	}
	return d.stackNames()
}

func completeService(ctx context.Context, s *session, args []string) []string {
	return s.look(ctx).serviceNames(args[0])
}

func completeServiceOrNode(ctx context.Context, s *session, args []string) []string {
	d := s.look(ctx)
	return append(d.serviceNames(args[0]), d.nodesWith(args[0])...)
}

func completeRevision(ctx context.Context, s *session, _ []string) []string {
	where, err := s.where()
	if err != nil || where.Controller == "" {
		return nil
	}
	c, err := s.dialController(where)
	if err != nil {
		return nil
	}
	defer c.Close()
	h, err := c.Fleet.History(ctx, &ktrdrv1.HistoryRequest{Limit: 20})
	if err != nil {
		return nil
	}
	return each(h.GetCommits(), func(c *ktrdrv1.Commit) string { return short(c.GetRevision()) + "\t" + oneLine(c.GetSubject()) })
}

func completeContext(_ context.Context, s *session, _ []string) []string {
	f, err := contexts.Load(s.configPath())
	if err != nil {
		return nil
	}
	return f.Names()
}

// completeScale completes POOL= and node= from the fleet, POOL= also from the repository in the
// working directory: one agent knows no pools.
func completeScale(ctx context.Context, s *session, args []string) []string {
	var words []string
	for _, pool := range poolsBelow(s.repo) {
		words = append(words, pool+"=")
	}
	d := s.look(ctx)
	for i := range d.Nodes {
		for _, pool := range d.Nodes[i].pools {
			words = append(words, pool+"=")
		}
		words = append(words, "node="+d.Nodes[i].Name)
	}
	// What is written already, with whatever value, is not offered again.
	return slices.DeleteFunc(words, func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, name+"=") })
	})
}

// poolsBelow are the pools of all stacks of a desired-state folder.
func poolsBelow(dir string) []string {
	if dir == "" {
		dir = "."
	}
	files, _ := filepath.Glob(filepath.Join(dir, "stacks", "*", "stack.yaml"))
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || len(text) > maxFileOfStack {
			continue
		}
		var stack struct {
			Spec struct {
				Pools map[string]any `yaml:"pools"`
			} `yaml:"spec"`
		}
		if yaml.Unmarshal(text, &stack) != nil {
			continue
		}
		for name := range stack.Spec.Pools {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// maxFileOfStack bounds what is read of a file to complete from, in bytes.
const maxFileOfStack = 256 << 10

func (d *document) stackNames() []string {
	var names []string
	for i := range d.Nodes {
		if st := d.Nodes[i].Status; st != nil {
			for j := range st.Stacks {
				names = append(names, st.Stacks[j].Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// serviceNames are the services of a stack on any node.
func (d *document) serviceNames(stack string) []string {
	var names []string
	for i := range d.Nodes {
		st := d.Nodes[i].Status
		if st == nil {
			continue
		}
		for j := range st.Stacks {
			if st.Stacks[j].Name != stack {
				continue
			}
			for k := range st.Stacks[j].Services {
				names = append(names, st.Stacks[j].Services[k].Service)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nodesWith are the nodes that have a stack.
func (d *document) nodesWith(stack string) []string {
	var names []string
	for i := range d.Nodes {
		if st := d.Nodes[i].Status; st != nil && slices.ContainsFunc(st.Stacks, func(s api.StackStatus) bool { return s.Name == stack }) {
			names = append(names, d.Nodes[i].Name)
		}
	}
	return names
}
