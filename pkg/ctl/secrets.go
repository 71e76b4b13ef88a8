package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) secretsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Which secrets are used by whom, and how their providers are doing",
		Long: "Lists the secret references of the desired state with their state, the number of values that the\n" +
			"node has seen, when they were last confirmed, and who uses them. Never a value.\n" +
			"A single agent tells it on its Unix socket only. The exit code is 2 when one is not ok.",
		Example: `ktrdrctl secrets
ktrdrctl secrets --node b -o json`,
		Args: cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatJSON, formatYAML)
	nodes := s.nodeFlag(cmd)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			return c.secretsOfNodes(cmd, *nodes, view{cmd.OutOrStdout(), *format})
		},
		agent: func(cmd *cobra.Command, c *client, _ []string) error {
			st, err := c.secrets(cmd.Context())
			if err != nil {
				return err
			}
			if err := (view{cmd.OutOrStdout(), *format}).secrets(st); err != nil {
				return err
			}
			return secretsVerdict(st)
		},
	})
	return cmd
}

// secretsDoc is what `ktrdrctl secrets -o json` prints of a fleet.
type secretsDoc struct {
	Nodes  []api.SecretsStatus `json:"nodes"`
	Failed []failedNode        `json:"failed,omitzero"`
}

// failedNode is a node that did not answer.
type failedNode struct {
	Node    string `json:"node"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (c *controller) secretsOfNodes(cmd *cobra.Command, nodes []string, v view) error {
	r, err := c.references(cmd.Context(), nodes)
	if err != nil {
		return err
	}
	doc := secretsDoc{Nodes: []api.SecretsStatus{}}
	verdict := error(nil)
	for _, n := range r.GetNodes() {
		doc.Nodes = append(doc.Nodes, wire.SecretsStatusFromProto(n))
		if secretsVerdict(&doc.Nodes[len(doc.Nodes)-1]) != nil {
			verdict = exitCode(exitPending)
		}
	}
	for _, f := range r.GetFailed() {
		doc.Failed = append(doc.Failed, failedNode{Node: f.GetNode(), Reason: f.GetReason(), Message: withoutNode(f)})
		verdict = exitCode(exitPending)
	}
	if v.format != formatTable {
		if err := v.data(doc); err != nil {
			return err
		}
		return verdict
	}
	if len(doc.Nodes)+len(doc.Failed) == 0 {
		return errors.Join(v.line("no node is connected"), exitCode(exitPending))
	}
	for i := range doc.Nodes {
		if err := v.secrets(&doc.Nodes[i]); err != nil {
			return err
		}
		if err := v.line(""); err != nil {
			return err
		}
	}
	for _, f := range doc.Failed {
		if _, err := lipgloss.Fprintln(v.out, bold("node "+oneLine(f.Node)), " "+bad(oneLine(f.Reason)), " "+oneLine(f.Message)); err != nil {
			return err
		}
	}
	return verdict
}

func (c *client) secrets(ctx context.Context) (*api.SecretsStatus, error) {
	var st api.SecretsStatus
	if err := c.do(ctx, request{method: http.MethodGet, path: "/v1/secrets"}, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// secretsVerdict is the exit code that the list stands for.
func secretsVerdict(st *api.SecretsStatus) error {
	for i := range st.Secrets {
		if st.Secrets[i].Phase != api.SecretFresh {
			return exitCode(exitPending)
		}
	}
	return nil
}

func (v view) secrets(st *api.SecretsStatus) error {
	if v.format != formatTable {
		return v.data(st)
	}
	parts := []string{bold("node " + oneLine(st.Node))}
	if len(st.Providers) > 0 {
		parts = append(parts, providerTable(st))
	}
	if len(st.Secrets) == 0 {
		parts = append(parts, "the desired state uses no secret reference")
	} else {
		parts = append(parts, secretTable(st))
	}
	if list := secretTroubles(st); len(list) > 0 {
		parts = append(parts, strings.Join(list, "\n"))
	}
	_, err := lipgloss.Fprintln(v.out, strings.Join(parts, "\n\n"))
	return err
}

func providerTable(st *api.SecretsStatus) string {
	var rows [][]string
	for i := range st.Providers {
		p := &st.Providers[i]
		state := good("reachable")
		if !p.Reachable {
			state = bad("not reachable")
			if p.LastAttempt.IsZero() {
				state = busy("not asked yet")
			}
		}
		rows = append(rows, []string{oneLine(p.Name), dash(strings.Join(p.Schemes, ",")), state, since(st.Time, p.LastSuccess), tokenText(p.Token, st.Time)})
	}
	return columns([]string{"PROVIDER", "SCHEMES", "STATE", "CONFIRMED", "TOKEN"}, rows)
}

// tokenText says how long a provider's token lasts.
func tokenText(token *api.TokenState, now time.Time) string {
	days, expires := token.DaysLeft(now)
	switch {
	case token == nil:
		return "-"
	case !expires:
		return "never expires"
	case days < 0:
		return bad("expired on " + token.Expires.Local().Format(time.DateOnly))
	}
	text := fmt.Sprintf("%d days left, until %s", days, token.Expires.Local().Format(time.DateOnly))
	if token.ExpiresSoon(now) {
		return busy(text)
	}
	return text
}

func secretTable(st *api.SecretsStatus) string {
	var rows [][]string
	for i := range st.Secrets {
		s := &st.Secrets[i]
		generation := "-"
		if s.Generation > 0 {
			generation = strconv.FormatUint(s.Generation, 10)
		}
		users := make([]string, len(s.Users))
		for j, user := range s.Users {
			users[j] = oneLine(user.String())
		}
		rows = append(rows, []string{
			oneLine(s.Reference), dash(s.Provider), phaseText(s.Phase), generation, since(st.Time, s.ChangedAt), since(st.Time, s.ConfirmedAt),
			dash(strings.Join(users, ", ")),
		})
	}
	return columns([]string{"REFERENCE", "PROVIDER", "STATE", "GENERATION", "AGE", "CONFIRMED", "USED BY"}, rows)
}

func phaseText(p api.SecretPhase) string {
	switch p {
	case api.SecretFresh:
		return good(string(p))
	case api.SecretStale:
		return busy(string(p))
	case api.SecretMissing, api.SecretDenied:
		return bad(string(p))
	}
	return oneLine(string(p))
}

// secretTroubles are all that is not ok, each reason with its fix once.
func secretTroubles(st *api.SecretsStatus) []string {
	var list []string
	tell := func(about string, reason api.Reason, message string) {
		list = append(list, trouble(st.Time, about, api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: reason, Message: message,
		})...)
	}
	for i := range st.Providers {
		if p := &st.Providers[i]; p.Reason != "" {
			tell("provider "+p.Name, p.Reason, p.Message)
		}
	}
	for i := range st.Secrets {
		if s := &st.Secrets[i]; s.Phase != api.SecretFresh {
			tell(s.Reference, s.Reason, s.Message)
		}
	}
	return list
}

// reasonFull is that of nodes whose answer did not fit into the reply.
const reasonFull = "AnswerTooLarge"

// references asks until no node's answer is missing for want of room.
func (c *controller) references(ctx context.Context, nodes []string) (*ktrdrv1.ReferencesResponse, error) {
	all := &ktrdrv1.ReferencesResponse{}
	for {
		var r *ktrdrv1.ReferencesResponse
		err := c.call(ctx, nodePatience, func(ctx context.Context) (err error) {
			r, err = c.Fleet.References(ctx, &ktrdrv1.ReferencesRequest{Nodes: nodes}, remote.Large())
			return err
		})
		if err != nil {
			return nil, err
		}
		nodes = nil
		for _, f := range r.GetFailed() {
			if f.GetReason() == reasonFull && len(r.GetNodes()) > 0 {
				nodes = append(nodes, f.GetNode())
			} else {
				all.Failed = append(all.Failed, f)
			}
		}
		if all.Nodes = append(all.Nodes, r.GetNodes()...); len(nodes) == 0 {
			return all, nil
		}
	}
}
