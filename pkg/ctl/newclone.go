package ctl

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// agentSource is where an agent says that its desired state comes from, as docs/spec/http.md
// has it.
type agentSource struct {
	Kind      string   `json:"kind"`
	URL       string   `json:"url"`
	Branch    string   `json:"branch"`
	Path      string   `json:"path"`
	SubFolder string   `json:"subFolder"`
	Endpoints []string `json:"endpoints"`
}

// newClone clones what the agent follows, with the user's own credentials, into a folder that
// goes away.
func (s *session) newClone(cmd *cobra.Command, agent *client) (*clone, error) {
	var from agentSource
	err := agent.do(cmd.Context(), request{method: http.MethodGet, path: "/v1/source"}, &from)
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.Reason == "NotFound" {
		return nil, fmt.Errorf("%s changes the repository, and this agent is too old to say which one it follows: write --repo DIR with a clone of it", cmd.Name())
	}
	if err != nil {
		return nil, err
	}
	switch from.Kind {
	case "git":
	case "dir":
		return nil, fmt.Errorf("%s makes a commit, and this agent follows the folder %s, which has no history of its own:\n"+
			"  edit the files there; ktrdrctl plan %s shows what comes of it. When it is a clone: --repo %s, then bring the folder up to date",
			cmd.Name(), oneLine(from.Path), oneLine(from.Path), oneLine(from.Path))
	case "controller":
		return nil, fmt.Errorf("%s is the controller's to do, and this agent gets its state from the one at %s:\n  ktrdrctl context use NAME, or --context NAME", cmd.Name(), listed(from.Endpoints))
	default:
		return nil, fmt.Errorf("%s changes the repository, and the agent does not say which one it follows: write --repo DIR with a clone of it", cmd.Name())
	}
	if !isRemote(from.URL) || !isBranch(from.Branch) || from.SubFolder != "" && !filepath.IsLocal(from.SubFolder) {
		return nil, fmt.Errorf("the agent follows %q, which can't be cloned from here: write --repo DIR with a clone of it", from.URL)
	}
	dir, err := os.MkdirTemp("", "ktrdrctl-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the clone: %w", err)
	}
	c := &clone{ctx: cmd.Context(), dir: filepath.Join(dir, "repository", from.SubFolder), temporary: dir}
	if _, err := runGit(c.ctx, dir, "clone", "--quiet", "--single-branch", "--branch", from.Branch, "--", from.URL, "repository"); err != nil {
		c.close()
		return nil, fmt.Errorf("clone what the agent follows, %s, with your own git credentials: %w\n  Where it can't be reached from here: --repo DIR with a clone of it", from.URL, err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "fleet.yaml")); err != nil {
		c.close()
		return nil, fmt.Errorf("%s has no fleet.yaml where the agent reads it (%s)", from.URL, orElse(from.SubFolder, "."))
	}
	return c, nil
}

// close removes a clone that is ours.
func (c *clone) close() {
	if c.temporary != "" {
		_ = os.RemoveAll(c.temporary) // in the system's folder for such things
	}
}

var (
	scpAddress = regexp.MustCompile(`^[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^-]`)
	branchName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
)

// isRemote allows the transports that an agent has, and none that runs a program.
func isRemote(address string) bool {
	for _, scheme := range []string{"https://", "http://", "ssh://", "file:///"} {
		if strings.HasPrefix(address, scheme) && !strings.HasPrefix(strings.TrimPrefix(address, scheme), "-") {
			return true
		}
	}
	return filepath.IsAbs(address) || scpAddress.MatchString(address)
}

func isBranch(name string) bool { return branchName.MatchString(name) }
