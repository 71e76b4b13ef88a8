package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
)

// repositoryPath is where a controller serves the repository that it hosts.
const repositoryPath = "/git/desired-state.git"

func (s *session) gitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git",
		Short: "Set a clone up for the controller's repository",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(s.gitSetupCommand())
	return cmd
}

func (s *session) gitSetupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup [DIR]",
		Short: "Make `git push desired-state main` work in a clone",
		Long: "Sets in the clone (default: this folder) a remote with the address of the controller's repository, the fleet's\n" +
			"authority, and ktrdrctl as the helper that gives git the token of the context. Only this clone is changed.\n" +
			"With --print only says what would be set.",
		Example: `git init desired-state && ktrdrctl git setup desired-state
ktrdrctl git setup --print`,
		Args: cobra.MaximumNArgs(1),
	}
	remoteName := cmd.Flags().String("remote", "desired-state", "name of the remote")
	only := cmd.Flags().Bool("print", false, "only print the commands")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		where, err := s.where()
		if err != nil {
			return err
		}
		if where.Controller == "" {
			return s.needsController(cmd, "git remote add … with the address of the repository that the agent follows.")
		}
		dir := "."
		if len(args) > 0 {
			dir = args[0]
		}
		g := &gitSetup{ctx: cmd.Context(), dir: dir, remote: *remoteName, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), print: *only}
		return s.setupGit(g, where)
	}
	return cmd
}

// gitSetup changes the configuration of one clone.
type gitSetup struct {
	ctx    context.Context //nolint:containedctx // of one command
	dir    string
	remote string
	out    io.Writer
	notes  io.Writer
	print  bool
}

func (s *session) setupGit(g *gitSetup, where *contexts.Context) error {
	host, err := where.Host()
	if err != nil {
		return err
	}
	creds, err := where.Credentials(filepath.Dir(s.configPath()))
	if err != nil {
		return err
	}
	folder, err := g.gitDir()
	if err != nil {
		return err
	}
	base := "https://" + host
	files := []struct {
		key, name string
		text      []byte
	}{
		{"sslCAInfo", "ktrdr-authority.pem", creds.Authority}, {"sslCert", "ktrdr-certificate.pem", creds.Certificate}, {"sslKey", "ktrdr-key.pem", creds.Key},
	}
	for _, file := range files {
		if len(file.text) == 0 {
			continue
		}
		path := filepath.Join(folder, file.name)
		if !g.print {
			if err := contexts.WritePrivate(path, file.text); err != nil {
				return err
			}
		}
		if err := g.set("http."+base+"/."+file.key, path); err != nil {
			return err
		}
	}
	if err := g.set("credential."+base+".helper", s.helper(where.Name)); err != nil {
		return err
	}
	if err := g.set("remote."+g.remote+".fetch", "+refs/heads/*:refs/remotes/"+g.remote+"/*"); err != nil {
		return err
	}
	if err := g.set("remote."+g.remote+".url", base+repositoryPath); err != nil {
		return err
	}
	if g.print {
		return nil
	}
	if s.process.Env("GIT_SSL_CAINFO") != "" {
		fmt.Fprintln(g.notes, "ktrdrctl: GIT_SSL_CAINFO is set and counts more than what is set here: unset it before you push")
	}
	_, err = fmt.Fprintf(g.out, "%s: git push %s main\n", g.dir, g.remote)
	return err
}

// helper is what git runs, by a shell, to ask for the token.
func (s *session) helper(name string) string {
	program := "ktrdrctl"
	if found, err := exec.LookPath(program); err != nil || found == "" {
		if own, err := os.Executable(); err == nil {
			program = "'" + strings.ReplaceAll(own, "'", `'\''`) + "'"
		}
	}
	// The name of a context needs no quotes: contexts.Context.Validate.
	return "!" + program + " --context " + name + " git-credential"
}

func (g *gitSetup) gitDir() (string, error) {
	out, err := g.git("rev-parse", "--absolute-git-dir")
	if err != nil {
		return "", fmt.Errorf("%s is no clone: git init %s first: %w", g.dir, g.dir, err)
	}
	return strings.TrimSpace(out), nil
}

func (g *gitSetup) set(key, value string) error {
	if g.print {
		_, err := fmt.Fprintf(g.out, "git config --local %s '%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
		return err
	}
	_, err := g.git("config", "--local", "--replace-all", key, value)
	return err
}

func (g *gitSetup) git(args ...string) (string, error) {
	return runGit(g.ctx, g.dir, args...)
}

// runGit runs git in a folder with what the user has configured, and returns what it
// prints. Its errors hold what git said.
func runGit(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...) //nolint:gosec // the arguments are ours
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, notes strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &notes, os.Stdin
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("there is no git program: install git")
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(notes.String()))
	}
	return out.String(), nil
}

func (s *session) credentialCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "git-credential get|store|erase",
		Short: "Give git the token of the context (git's own protocol)",
		Long: "Answers `git credential` requests for the controller of the context with its token, and nothing else.\n" +
			"ktrdrctl git setup makes git call it.",
		Example:   "git config credential.https://backend.example:8443.helper '!ktrdrctl --context home git-credential'",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil // the token is kept in the context
			}
			where, err := s.where()
			if err != nil || where.Controller == "" {
				return err
			}
			asked, err := readCredential(cmd.InOrStdin())
			if err != nil {
				return err
			}
			host, err := where.Host()
			if err != nil {
				return err
			}
			if asked["protocol"] != "https" || canonicalHost(asked["host"]) != host {
				return nil // somebody else's
			}
			creds, err := where.Credentials(filepath.Dir(s.configPath()))
			if err != nil || creds.Token == "" {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "username=ktrdrctl\npassword=%s\n", creds.Token)
			return err
		},
	}
}

// readCredential reads key=value lines up to an empty one (git-credential(1)).
func readCredential(in io.Reader) (map[string]string, error) {
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(in, 64<<10))
	for lines.Scan() && lines.Text() != "" {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			asked[key] = value
		}
	}
	return asked, lines.Err()
}

// canonicalHost adds the port that https has without one.
func canonicalHost(host string) string {
	u, err := url.Parse("https://" + host)
	if err != nil || u.Host != host {
		return ""
	}
	if u.Port() == "" {
		return host + ":443"
	}
	return host
}
