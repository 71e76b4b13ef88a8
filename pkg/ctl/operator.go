package ctl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) operatorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Who may steer the fleet: list, add, remove",
		Args:  cobra.NoArgs,
		Example: `ktrdrctl operator list
ktrdrctl operator add karl --role operator --email karl@example.org -o karl.yaml
ktrdrctl operator remove karl`,
	}
	cmd.AddCommand(s.operatorListCommand(), s.operatorAddCommand(), s.operatorRemoveCommand())
	return cmd
}

// operatorDoc is a line of `ktrdrctl operator list -o json`.
type operatorDoc struct {
	Name      string    `json:"name"`
	Email     string    `json:"email,omitzero"`
	Role      string    `json:"role"`
	Created   time.Time `json:"createdAt,omitzero"`
	CreatedBy string    `json:"createdBy,omitzero"`
	Expires   time.Time `json:"expiresAt,omitzero"`
	Seen      time.Time `json:"seenAt,omitzero"`
}

func (s *session) operatorListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "Operators and their roles", Example: "ktrdrctl operator list", Args: cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatJSON, formatYAML)
	cmd.RunE = s.run(sides{fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
		docs := []operatorDoc{}
		err := c.call(cmd.Context(), 0, func(ctx context.Context) error {
			r, err := c.Access.ListOperators(ctx, &ktrdrv1.ListOperatorsRequest{})
			for _, o := range r.GetOperators() {
				docs = append(docs, operatorDoc{
					Name: o.GetName(), Email: o.GetEmail(), Role: o.GetRole(), Created: wire.Time(o.GetCreated()), CreatedBy: o.GetCreatedBy(),
					Expires: wire.Time(o.GetExpires()), Seen: wire.Time(o.GetSeen()),
				})
			}
			return err
		})
		if err != nil {
			return err
		}
		return (view{cmd.OutOrStdout(), *format}).operators(docs, time.Now())
	}})
	return cmd
}

func (v view) operators(docs []operatorDoc, now time.Time) error {
	if v.format != formatTable {
		return v.data(docs)
	}
	var rows [][]string
	for i := range docs {
		o := &docs[i]
		expires := "never"
		if !o.Expires.IsZero() {
			expires = o.Expires.Local().Format(time.DateOnly)
			if o.Expires.Before(now) {
				expires = bad("ended " + expires)
			}
		}
		rows = append(rows, []string{oneLine(o.Name), dash(o.Role), dash(o.Email), expires, since(now, o.Seen), since(now, o.Created), dash(o.CreatedBy)})
	}
	_, err := lipgloss.Fprintln(v.out, columns([]string{"OPERATOR", "ROLE", "EMAIL", "EXPIRES", "SEEN", "AGE", "MADE BY"}, rows))
	return err
}

func roles() []string { return []string{"viewer", "operator", "admin"} }

func (s *session) operatorAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make an operator, or give one new access",
		Long: "Makes an access token, or with --certificate a key and a certificate, and writes a file that the operator adds with\n" +
			"ktrdrctl context add NAME --from FILE. It is shown once. Access that the operator had before ends.",
		Example: `ktrdrctl operator add karl --role operator --email karl@example.org -o karl.yaml
ktrdrctl operator add ci --role operator --expires 2160h -o ci.yaml
ktrdrctl operator add eve --role viewer --certificate -o eve.yaml`,
		Args: cobra.ExactArgs(1),
	}
	role := cmd.Flags().String("role", "viewer", "viewer, operator or admin")
	email := cmd.Flags().String("email", "", "address for commits")
	expires := cmd.Flags().Duration("expires", 0, "when the access ends, such as 2160h; 0 for never")
	certificate := cmd.Flags().Bool("certificate", false, "make a certificate in the place of a token")
	file := cmd.Flags().StringP("output", "o", "", "write the credentials to this file, which only you can read")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles(), cobra.ShellCompDirectiveNoFileComp))
	two := sides{fleet: func(cmd *cobra.Command, c *controller, args []string) error {
		o := &ktrdrv1.Operator{Name: args[0], Email: *email, Role: *role}
		if *expires > 0 {
			o.Expires = timestamppb.New(time.Now().Add(*expires))
		}
		text, err := c.newOperator(cmd.Context(), o, *certificate)
		if err != nil {
			return err
		}
		return deliver(cmd, *file, text)
	}}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(roles(), *role) {
			return fmt.Errorf("--role %s: write one of %s", *role, strings.Join(roles(), ", "))
		}
		if *expires < 0 {
			return fmt.Errorf("--expires %s: write a duration such as 2160h", *expires)
		}
		if err := canDeliver(*file); err != nil {
			return err
		}
		return s.run(two)(cmd, args)
	}
	return cmd
}

// newOperator returns the file with the operator's context.
func (c *controller) newOperator(ctx context.Context, o *ktrdrv1.Operator, certificate bool) ([]byte, error) { //nolint:revive // the flag of the command
	req := &ktrdrv1.CreateOperatorRequest{Operator: o}
	var key []byte
	if certificate {
		var err error
		if key, req.Csr, err = newRequest(); err != nil {
			return nil, err
		}
	}
	var r *ktrdrv1.CreateOperatorResponse
	err := c.call(ctx, 0, func(ctx context.Context) (err error) {
		r, err = c.Access.CreateOperator(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Certificates of authorities come one after the other.
	authorities, err := certificates(r.GetAuthority())
	if err != nil {
		return nil, err
	}
	made := c.context.For()
	made.Token, made.Authority = r.GetAccessToken(), contexts.Encode(authorities)
	if certificate {
		chain, err := certificates(slices.Concat(r.GetChain()...))
		if err != nil {
			return nil, err
		}
		made.Certificate, made.Key = contexts.Encode(chain), contexts.Encode(key)
	}
	if err := made.Validate(); err != nil {
		return nil, fmt.Errorf("the controller's answer: %w", err)
	}
	f := contexts.New()
	f.Put(made)
	f.Current = made.Name
	return f.Text()
}

// newRequest makes a key, as PEM, and a request for a certificate, as DER. The key never
// leaves this machine but in the file.
func newRequest() (key, csr []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, errors.New("encode a key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), csr, nil
}

// certificates makes PEM of certificates in DER, one after the other.
func certificates(der []byte) ([]byte, error) {
	chain, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, fmt.Errorf("the controller's answer has a damaged certificate: %w", err)
	}
	var out []byte
	for _, cert := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out, nil
}

func (s *session) operatorRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "End an operator's access at once", Example: "ktrdrctl operator remove karl --yes", Args: cobra.ExactArgs(1),
	}
	yes := cmd.Flags().Bool("yes", false, "don't ask")
	cmd.RunE = s.run(sides{fleet: func(cmd *cobra.Command, c *controller, args []string) error {
		if err := confirm(cmd, *yes, args[0], "the access of "+args[0]+" ends at once"); err != nil {
			return err
		}
		return c.tell(cmd, "operator "+args[0]+" is removed", func(ctx context.Context) error {
			_, err := c.Access.RemoveOperator(ctx, &ktrdrv1.RemoveOperatorRequest{Name: args[0]})
			return err
		})
	}})
	return cmd
}

// identityDoc is what `ktrdrctl whoami -o json` prints.
type identityDoc struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	By      string    `json:"by"`
	Expires time.Time `json:"expiresAt,omitzero"`
}

func (s *session) whoamiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "whoami",
		Short:   "Whom the controller takes you for, and your role",
		Example: "ktrdrctl whoami",
		Args:    cobra.NoArgs,
	}
	format := output(cmd, formatText, formatJSON)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			var doc identityDoc
			err := c.call(cmd.Context(), 0, func(ctx context.Context) error {
				r, err := c.Access.WhoAmI(ctx, &ktrdrv1.WhoAmIRequest{})
				doc = identityDoc{Kind: r.GetKind(), Name: r.GetName(), Role: r.GetRole(), By: r.GetBy(), Expires: wire.Time(r.GetExpires())}
				return err
			})
			if err != nil {
				return err
			}
			v := view{cmd.OutOrStdout(), *format}
			if *format == formatJSON {
				return v.data(doc)
			}
			text := fmt.Sprintf("%s %s, role %s, by %s", doc.Kind, orElse(doc.Name, "-"), orElse(doc.Role, "none"), orElse(doc.By, "nothing"))
			if !doc.Expires.IsZero() {
				text += ", until " + doc.Expires.Local().Format(time.DateTime)
			}
			return v.line(text + " at " + c.Address())
		},
		instead: "an agent knows nobody: who may open its socket may steer it.",
	})
	return cmd
}
