package ctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	"ktrdr.io/fleet/pkg/ctl/internal/remote"
)

// Names of variables of the environment.
const (
	agentVariable   = "KTRDR_AGENT"
	contextVariable = "KTRDR_CONTEXT"
)

// where finds the context that a run is about: flags, then the environment, then what the
// file says, then the agent of this machine.
func (s *session) where() (*contexts.Context, error) {
	agentEnv, contextEnv := s.process.Env(agentVariable), s.process.Env(contextVariable)
	switch {
	case s.agent != "" && s.context != "":
		return nil, errors.New("--agent and --context: write one of them")
	case s.agent != "":
		return &contexts.Context{Agent: s.agent}, nil
	case s.context != "":
		return s.named(s.context)
	case agentEnv != "" && contextEnv != "":
		return nil, fmt.Errorf("%s and %s are both set: unset one of them, or write --agent or --context", agentVariable, contextVariable)
	case agentEnv != "":
		return &contexts.Context{Agent: agentEnv}, nil
	case contextEnv != "":
		return s.named(contextEnv)
	}
	f, err := contexts.Load(s.configPath())
	if err != nil {
		return nil, err
	}
	if f.Current == "" {
		return &contexts.Context{Agent: defaultAgent}, nil
	}
	return find(f, f.Current)
}

func (s *session) configPath() string { return contexts.Path(s.process.Env) }

func (s *session) named(name string) (*contexts.Context, error) {
	f, err := contexts.Load(s.configPath())
	if err != nil {
		return nil, err
	}
	return find(f, name)
}

func find(f *contexts.File, name string) (*contexts.Context, error) {
	if c := f.Find(name); c != nil {
		return c, nil
	}
	if len(f.Contexts) == 0 {
		return nil, fmt.Errorf("there is no context %q: ktrdrctl context add %s --from FILE", name, name)
	}
	return nil, fmt.Errorf("there is no context %q; there is %s", name, strings.Join(f.Names(), ", "))
}

// controller is the connection to a fleet's controller.
type controller struct {
	*remote.Conn
	context *contexts.Context
	timeout time.Duration
}

// dialController prepares the connection to the controller of a context.
func (s *session) dialController(c *contexts.Context) (*controller, error) {
	hosts, err := c.Hosts()
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", c.Name, err)
	}
	creds, err := c.Credentials(filepath.Dir(s.configPath()))
	if err != nil {
		return nil, err
	}
	conn, err := remote.Dial(remote.Config{
		Addresses: hosts, Authority: creds.Authority, Certificate: creds.Certificate, Key: creds.Key, Token: creds.Token,
	})
	if err != nil {
		return nil, err
	}
	return &controller{Conn: conn, context: c, timeout: s.timeout}, nil
}

// call runs one request with the usual time limit and explains its error. patience is
// added to the limit.
func (c *controller) call(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout+patience)
	defer cancel()
	return c.Explain(ctx, do(limited))
}

// Patience with requests that do more than to look something up.
const (
	changePatience = 50 * time.Second
	nodePatience   = 20 * time.Second
)

// sides are the two ways to run a verb. A nil agent side means that it takes a controller.
type sides struct {
	fleet func(cmd *cobra.Command, c *controller, args []string) error
	agent func(cmd *cobra.Command, c *client, args []string) error
	// instead says what to do against a single agent when there is no agent side.
	instead string
}

// run makes the body of a command of its two sides.
func (s *session) run(two sides) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		where, err := s.where()
		if err != nil {
			return err
		}
		if where.Controller != "" {
			c, err := s.dialController(s.freshened(cmd, where))
			if err != nil {
				return err
			}
			defer c.Close()
			return two.fleet(cmd, c, args)
		}
		if two.agent == nil {
			return s.needsController(cmd, two.instead)
		}
		c, err := newClient(where.Agent, s.timeout)
		if err != nil {
			return err
		}
		return two.agent(cmd, c, args)
	}
}

func (s *session) needsController(cmd *cobra.Command, instead string) error {
	text := fmt.Sprintf("%s needs a controller, and this asks one agent.\n  With a fleet: ktrdrctl context use NAME, or --context NAME.", strings.TrimPrefix(cmd.CommandPath(), "ktrdrctl "))
	if instead != "" {
		text += "\n  Without one:  " + instead
	}
	return errors.New(text)
}
