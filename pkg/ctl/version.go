package ctl

import (
	"fmt"
	"net/http"
	"runtime"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
)

// build says which build a program is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitzero"`
	Go      string `json:"go,omitzero"`
	OS      string `json:"os,omitzero"`
	Arch    string `json:"arch,omitzero"`
	Node    string `json:"node,omitzero"`
}

func (s *session) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Versions of ktrdrctl, and of the controller or the agent",
		Args:  cobra.NoArgs,
	}
	format := output(cmd, formatText, formatJSON)
	local := cmd.Flags().Bool("client", false, "don't ask anybody")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		builds := map[string]*build{"client": {
			Version: api.Version, Commit: api.Commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		}}
		asked := s.askVersion(cmd, builds, *local)
		v := view{cmd.OutOrStdout(), *format}
		if *format == formatJSON {
			if err := v.data(builds); err != nil {
				return err
			}
			return asked
		}
		for _, who := range []string{"client", "controller", "agent"} {
			if b := builds[who]; b != nil {
				if err := v.line(fmt.Sprintf("%-10s %s", who, b)); err != nil {
					return err
				}
			}
		}
		return asked
	}
	return cmd
}

// askVersion adds the agent's build, unless only the client's is wanted.
func (s *session) askVersion(cmd *cobra.Command, builds map[string]*build, local bool) error { //nolint:revive // the flag of the command
	if local {
		return nil
	}
	return s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			d, err := c.document(cmd.Context())
			if err == nil {
				builds["controller"] = &build{Version: d.Controller.Version}
			}
			return err
		},
		agent: func(cmd *cobra.Command, c *client, _ []string) error {
			var b build
			if err := c.do(cmd.Context(), request{method: http.MethodGet, path: "/v1/version"}, &b); err != nil {
				return err
			}
			builds["agent"] = &b
			return nil
		},
	})(cmd, nil)
}

// String is for people.
func (b *build) String() string {
	text := b.Version
	if b.Commit != "" {
		text += " (" + short(b.Commit) + ")"
	}
	if b.Go != "" {
		text += " " + b.Go + " " + b.OS + "/" + b.Arch
	}
	if b.Node != "" {
		text += " node " + b.Node
	}
	return text
}
