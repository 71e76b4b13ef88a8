package ctl

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
)

func (s *session) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Which fleets and agents this machine knows",
		Long: "Contexts are kept in ~/.config/ktrdr/config or $KTRDR_CONFIG, which only you may be able to read.\n" +
			"A context is a controller with its authority and your token or certificate, or an agent.",
		Example: `ktrdrctl context add home --from credentials.yaml
ktrdrctl context add node-b --agent-address http://127.0.0.1:9180
ktrdrctl context use home`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(s.contextListCommand(), s.contextUseCommand(), s.contextAddCommand(), s.contextRemoveCommand(), s.contextShowCommand(), s.contextRenewCommand())
	return cmd
}

func (s *session) contextListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "All contexts", Example: "ktrdrctl context list", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := contexts.Load(s.configPath())
			if err != nil {
				return err
			}
			if len(f.Contexts) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "no contexts; the agent of this machine is asked. Add a fleet: ktrdrctl context add NAME --from FILE")
				return err
			}
			var rows [][]string
			for i := range f.Contexts {
				c := &f.Contexts[i]
				mark := ""
				if c.Name == f.Current {
					mark = "*"
				}
				rows = append(rows, []string{mark, c.Name, orElse(c.Controller, c.Agent) + more(len(c.Others)), credentialKind(c)})
			}
			_, err = lipgloss.Fprintln(cmd.OutOrStdout(), columns([]string{"", "NAME", "ADDRESS", "AS"}, rows))
			return err
		},
	}
}

// more says that there are others beside the first.
func more(others int) string {
	if others == 0 {
		return ""
	}
	return fmt.Sprintf(" (+%d)", others)
}

func credentialKind(c *contexts.Context) string {
	switch {
	case c.Agent != "":
		return "-"
	case c.Key != "" || c.KeyFile != "":
		return "certificate"
	case c.Token != "" || c.TokenFile != "":
		return "token"
	}
	return busy("nobody")
}

func (s *session) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Make a context the one that is used", Example: "ktrdrctl context use home", Args: cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeContext),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeContexts(cmd, "context "+args[0]+" is used now", func(f *contexts.File) error {
				_, err := find(f, args[0])
				f.Current = args[0]
				return err
			})
		},
	}
}

func (s *session) contextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a context with its credentials", Example: "ktrdrctl context remove home", Args: cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeContext),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeContexts(cmd, "context "+args[0]+" is removed", func(f *contexts.File) error {
				if _, err := find(f, args[0]); err != nil {
					return err
				}
				f.Remove(args[0])
				return nil
			})
		},
	}
}

// changeContexts changes the file and says so.
func (s *session) changeContexts(cmd *cobra.Command, done string, change func(*contexts.File) error) error {
	f, err := contexts.Load(s.configPath())
	if err == nil {
		err = change(f)
	}
	if err == nil {
		err = f.Save(s.configPath())
	}
	if err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
	}
	return err
}

func (s *session) contextShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "A context without its secrets: address, authority, how long the certificate is good",
		Example: "ktrdrctl context show", Args: cobra.MaximumNArgs(1), ValidArgsFunction: s.complete(completeContext),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.where()
			if len(args) > 0 {
				c, err = s.named(args[0])
			}
			if err != nil {
				return err
			}
			lines, err := s.describe(c, time.Now())
			if err != nil {
				return err
			}
			_, err = lipgloss.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
			return err
		},
	}
}

func (s *session) describe(c *contexts.Context, now time.Time) ([]string, error) {
	lines := []string{"context      " + orElse(c.Name, "-")}
	if c.Controller == "" {
		return append(lines, "agent        "+c.Agent), nil
	}
	creds, err := c.Credentials(filepath.Dir(s.configPath()))
	if err != nil {
		return nil, err
	}
	lines = append(lines, "controller   "+strings.Join(append([]string{c.Controller}, c.Others...), ", "), "as           "+credentialKind(c))
	for _, what := range []struct {
		name string
		text []byte
	}{{"authority", creds.Authority}, {"certificate", creds.Certificate}} {
		for block, rest := pem.Decode(what.text); block != nil; block, rest = pem.Decode(rest) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("context %s: the %s is damaged", c.Name, what.name)
			}
			ends := good(cert.NotAfter.UTC().Format(time.RFC3339))
			if now.After(cert.NotAfter) {
				ends = bad("ended " + cert.NotAfter.UTC().Format(time.RFC3339))
			}
			sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
			lines = append(lines, fmt.Sprintf("%-12s %s, good until %s, key sha256:%s", what.name, certificateName(cert), ends, hex.EncodeToString(sum[:])))
		}
	}
	return lines, nil
}

func certificateName(cert *x509.Certificate) string {
	if len(cert.URIs) > 0 {
		return oneLine(cert.URIs[0].String())
	}
	return dash(cert.Subject.String())
}
