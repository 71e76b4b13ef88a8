package ctl

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
)

func (s *session) contextAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a fleet or an agent, and use it when it is the first",
		Long: "Adds a context, or replaces the one of that name. Credentials come from a file that `ktrdr-controller init` or\n" +
			"`ktrdrctl operator add` wrote, a token also from a file, from standard input (--token-file -) or a prompt; never from\n" +
			"an argument, which other users of the machine could read.",
		Example: `ktrdrctl context add home --from credentials.yaml
ktrdrctl context add home --controller https://backend.example:8443 --authority ca.pem --token-file -
ktrdrctl context add home --from credentials.yaml --controller https://c1.example:8443 --controller https://c2.example:8443
ktrdrctl context add node-b --agent-address unix:///run/ktrdr/agent.sock`,
		Args: cobra.ExactArgs(1),
	}
	var a addition
	cmd.Flags().StringVar(&a.from, "from", "", "file with credentials; - for standard input")
	cmd.Flags().StringSliceVar(&a.controllers, "controller", nil, "https://host:port of the controller; again for each other one, asked when those before do not answer")
	cmd.Flags().StringVar(&a.authority, "authority", "", "PEM file with the fleet's authority")
	cmd.Flags().StringVar(&a.token, "token-file", "", "file with the access token; - for standard input")
	cmd.Flags().StringVar(&a.certificate, "certificate", "", "PEM file with your certificate")
	cmd.Flags().StringVar(&a.key, "key", "", "PEM file with its key")
	cmd.Flags().StringVar(&a.agent, "agent-address", "", "unix:///path or http://host:port of an agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		made, err := a.context(cmd, args[0])
		if err != nil {
			return err
		}
		// Whatever is wrong with the credentials shall show now.
		if made.Controller != "" {
			c, err := s.dialController(made)
			if err != nil {
				return err
			}
			c.Close()
		} else if _, err := newClient(made.Agent, s.timeout); err != nil {
			return err
		}
		return s.changeContexts(cmd, "context "+args[0]+" is added", func(f *contexts.File) error {
			f.Put(*made)
			if f.Current == "" {
				f.Current = made.Name
			}
			return nil
		})
	}
	return cmd
}

// addition is what context add was told.
type addition struct {
	from, authority, token, certificate, key, agent string
	controllers                                     []string
}

func (a *addition) context(cmd *cobra.Command, name string) (*contexts.Context, error) {
	made := &contexts.Context{Name: name, Agent: a.agent}
	a.address(made)
	if a.from != "" {
		if err := a.fromFile(cmd, made); err != nil {
			return nil, err
		}
	}
	for _, file := range []struct {
		path string
		read func(string) ([]byte, error)
		to   *string
	}{
		{a.authority, readPEM, &made.Authority},
		{a.certificate, readPEM, &made.Certificate},
		{a.key, contexts.ReadPrivate, &made.Key},
	} {
		if file.path == "" {
			continue
		}
		text, err := file.read(file.path)
		if err != nil {
			return nil, err
		}
		*file.to = contexts.Encode(text)
	}
	if err := a.readToken(cmd, made); err != nil {
		return nil, err
	}
	err := made.Validate()
	return made, err
}

// address puts the controllers of the flags in, if there are any.
func (a *addition) address(to *contexts.Context) {
	if len(a.controllers) > 0 {
		to.Controller, to.Others = a.controllers[0], a.controllers[1:]
	}
}

// readPEM reads a file without secrets, at most 1 MiB.
func readPEM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // a file that was only read
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// fromFile takes over credentials: a file with one context, or chain, key and authorities
// as PEM.
func (a *addition) fromFile(cmd *cobra.Command, made *contexts.Context) error {
	text, err := readSecret(cmd, a.from)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) {
		return fromPEM(text, made)
	}
	f, err := contexts.Parse(text)
	if err != nil {
		return fmt.Errorf("read %s: %w", a.from, err)
	}
	var given *contexts.Context
	switch {
	case f.Current != "":
		given = f.Find(f.Current)
	case len(f.Contexts) == 1:
		given = &f.Contexts[0]
	}
	if given == nil {
		return fmt.Errorf("read %s: it has %s and doesn't say which one to take", a.from, counted(len(f.Contexts), "context"))
	}
	if err := inline(given, filepath.Dir(a.from)); err != nil {
		return err
	}
	given.Name = made.Name
	a.address(given)
	*made = *given
	return nil
}

// inline reads the files of a context, which may go away.
func inline(c *contexts.Context, dir string) error {
	if c.Controller == "" {
		return nil
	}
	creds, err := c.Credentials(dir)
	if err != nil {
		return err
	}
	*c = c.For()
	c.Token, c.Authority = creds.Token, contexts.Encode(creds.Authority)
	if len(creds.Key) > 0 {
		c.Certificate, c.Key = contexts.Encode(creds.Certificate), contexts.Encode(creds.Key)
	}
	return nil
}

// fromPEM tells certificates before the key from authorities after it, as the key stores
// of agents and controllers have them.
func fromPEM(text []byte, made *contexts.Context) error {
	var chain, key, authority []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		part := pem.EncodeToMemory(block)
		switch {
		case block.Type == "PRIVATE KEY":
			key = part
		case block.Type == "CERTIFICATE" && key == nil:
			chain = append(chain, part...)
		case block.Type == "CERTIFICATE":
			authority = append(authority, part...)
		}
	}
	if chain == nil || key == nil {
		return errors.New("the PEM file has no certificate followed by its private key")
	}
	made.Certificate, made.Key, made.Authority = contexts.Encode(chain), contexts.Encode(key), contexts.Encode(authority)
	return nil
}

// readToken takes the token from where it was said to be, or asks for it.
func (a *addition) readToken(cmd *cobra.Command, made *contexts.Context) error {
	has := made.Token != "" || made.Key != ""
	switch {
	case a.token != "":
		text, err := readSecret(cmd, a.token)
		if err != nil {
			return err
		}
		made.Token = strings.TrimSpace(string(text))
	case made.Controller == "" || has:
		return nil
	default:
		text, err := promptToken(cmd)
		if err != nil {
			return err
		}
		made.Token = text
	}
	return contexts.CheckToken(made.Token)
}

func promptToken(cmd *cobra.Command) (string, error) {
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(f) {
		return "", errors.New("there is no token: write --token-file FILE, or --token-file - for standard input")
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Token: ")
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", errors.New("the token could not be read")
	}
	return strings.TrimSpace(string(text)), nil
}

func readSecret(cmd *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
	}
	return contexts.ReadPrivate(path)
}
