package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/configfile"
	"ktrdr.io/fleet/pkg/source"
)

// Config is the agent's configuration file, /etc/ktrdr/agent.yaml. Unknown keys are errors.
type Config struct {
	// Node is the name of this node in the desired state (nodes/<name>.yaml). Required.
	Node string `yaml:"node"`
	// StateDir holds the agent's memory, the source's cache and materialised files. The
	// engine binds files below it, so engine and agent must see it at the same path.
	// Default /var/lib/ktrdr.
	StateDir string `yaml:"stateDir"`
	// Source is where the desired state comes from: exactly one of its parts is set.
	Source SourceConfig `yaml:"source"`
	// Engine is the container engine.
	Engine EngineConfig `yaml:"engine"`
	// Secrets is where secret values come from. Without it, desired state that uses
	// references is blocked.
	Secrets SecretsConfig `yaml:"secrets"`
	// PolicyFile holds what this node accepts of the desired state. Root owns it and nobody
	// else may write it. Default "": everything is accepted.
	PolicyFile string `yaml:"policyFile"`
	// SecretsDir is where secrets are delivered to containers: a tmpfs that the engine sees
	// at the same path; never a disk. Default /run/ktrdr/secrets.
	SecretsDir string `yaml:"secretsDir"`
	// ExecPath is the program ktrdr-exec, which containers with secrets get. Default: beside
	// ktrdr-agent.
	ExecPath string `yaml:"execPath"`
	// Listen is the address of the read-only HTTP endpoints. Default 127.0.0.1:9180; ""
	// turns them off.
	Listen *string `yaml:"listen"`
	// AllowRemote accepts a Listen address that is not loopback. Default false.
	AllowRemote bool `yaml:"allowRemote"`
	// Socket is the Unix socket for ktrdrctl. Default /run/ktrdr/agent.sock.
	Socket string `yaml:"socket"`
	// Log configures the log on standard error.
	Log LogConfig `yaml:"log"`
}

// SourceConfig names one source.
type SourceConfig struct {
	Git *GitSource `yaml:"git"`
	Dir *DirSource `yaml:"dir"`
	// Controller is set by ktrdr-agent join.
	Controller *ControllerSource `yaml:"controller"`
}

// ControllerSource gets slices from a controller over a stream that the agent opens.
type ControllerSource struct {
	// Endpoints are controllers as host:port. Required; at most 16.
	Endpoints []string `yaml:"endpoints"`
	// CredentialsDir holds the node's key and certificate. Default: credentials in
	// StateDir.
	CredentialsDir string `yaml:"credentialsDir"`
}

// DirSource follows a folder of this machine.
type DirSource struct {
	// Path of the folder. Required, absolute.
	Path string `yaml:"path"`
	// SubFolder of Path that holds fleet.yaml. Default: Path itself.
	SubFolder string `yaml:"subFolder"`
}

// GitSource follows a branch of a repository.
type GitSource struct {
	// URL as in `git clone`: https, ssh or file. Required. It holds no password.
	URL string `yaml:"url"`
	// Branch, default main.
	Branch string `yaml:"branch"`
	// SubFolder of the repository that holds fleet.yaml. Default: its root.
	SubFolder string `yaml:"subFolder"`
	// PollInterval between looks at the branch. Default 30s.
	PollInterval time.Duration `yaml:"pollInterval"`
	// Username and TokenFile are for https; the file is read at every look.
	Username  string `yaml:"username"`
	TokenFile string `yaml:"tokenFile"`
	// CAFile adds certificates that https servers may show.
	CAFile string `yaml:"caFile"`
	// SSHKeyFile and KnownHostsFile are for ssh, both required there.
	SSHKeyFile     string `yaml:"sshKeyFile"`
	KnownHostsFile string `yaml:"knownHostsFile"`
	// RequireSignature refuses commits that none of the keys below signed.
	RequireSignature   bool   `yaml:"requireSignature"`
	GPGKeyringFile     string `yaml:"gpgKeyringFile"`
	AllowedSignersFile string `yaml:"allowedSignersFile"`
}

// EngineConfig names the engine.
type EngineConfig struct {
	// Host, default unix:///var/run/docker.sock.
	Host string `yaml:"host"`
}

// LogConfig configures the log.
type LogConfig struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level"`
	// Format is text (default) or json.
	Format string `yaml:"format"`
}

// Default returns the configuration that a file starts from.
func Default() Config {
	listen := "127.0.0.1:9180"
	return Config{
		StateDir:   "/var/lib/ktrdr",
		SecretsDir: "/run/ktrdr/secrets",
		Engine:     EngineConfig{Host: "unix:///var/run/docker.sock"},
		Secrets:    SecretsConfig{Refresh: time.Minute},
		Listen:     &listen,
		Socket:     "/run/ktrdr/agent.sock",
		Log:        LogConfig{Level: "info", Format: "text"},
	}
}

// ReadConfig reads and validates a configuration file. Errors name file, line and column.
func ReadConfig(path string) (Config, error) {
	cfg := Default()
	err := configfile.Read(path, &cfg)
	return cfg, err
}

// Validate joins all problems.
func (c *Config) Validate() error {
	var errs []error
	if c.Node == "" {
		errs = append(errs, errors.New("node: required; the name of this node in nodes/<name>.yaml"))
	}
	for _, p := range []struct{ field, path string }{{"stateDir", c.StateDir}, {"socket", c.Socket}, {"secretsDir", c.SecretsDir}} {
		if !filepath.IsAbs(p.path) {
			errs = append(errs, fmt.Errorf("%s: %q must be an absolute path", p.field, p.path))
		}
	}
	if c.PolicyFile != "" && !filepath.IsAbs(c.PolicyFile) {
		errs = append(errs, fmt.Errorf("policyFile: %q must be an absolute path", c.PolicyFile))
	}
	if c.ExecPath != "" && !filepath.IsAbs(c.ExecPath) {
		errs = append(errs, fmt.Errorf("execPath: %q must be an absolute path", c.ExecPath))
	}
	errs = append(errs, c.Source.validate())
	errs = append(errs, c.Secrets.validate())
	return errors.Join(errs...)
}

func (s *SourceConfig) validate() error {
	set := 0
	for _, is := range []bool{s.Git != nil, s.Dir != nil, s.Controller != nil} {
		if is {
			set++
		}
	}
	switch {
	case set == 0:
		return errors.New("source: set source.git, source.dir or source.controller")
	case set > 1:
		return errors.New("source: set only one of source.git, source.dir and source.controller")
	case s.Controller != nil:
		return s.Controller.validate()
	case s.Dir != nil && !filepath.IsAbs(s.Dir.Path):
		return fmt.Errorf("source.dir.path: %q must be an absolute path", s.Dir.Path)
	case s.Git != nil && s.Git.PollInterval < 0:
		return fmt.Errorf("source.git.pollInterval: %s is negative", s.Git.PollInterval)
	}
	return nil
}

func (c *ControllerSource) validate() error {
	if err := uplink.CheckEndpoints(c.Endpoints); err != nil {
		return fmt.Errorf("source.controller.endpoints: %w", err)
	}
	if c.CredentialsDir != "" && !filepath.IsAbs(c.CredentialsDir) {
		return fmt.Errorf("source.controller.credentialsDir: %q must be an absolute path", c.CredentialsDir)
	}
	return nil
}

// credentialsDir is where the node's certificate is.
func (c *Config) credentialsDir() string {
	if c.Source.Controller != nil && c.Source.Controller.CredentialsDir != "" {
		return c.Source.Controller.CredentialsDir
	}
	return filepath.Join(c.StateDir, "credentials")
}

// told is what others may know of the source: no password and no file with one.
func (s *SourceConfig) told() report.Source {
	switch {
	case s.Dir != nil:
		return report.Source{Kind: "dir", Path: s.Dir.Path, SubFolder: s.Dir.SubFolder}
	case s.Git != nil:
		out := report.Source{Kind: "git", URL: s.Git.URL, Branch: cmp.Or(s.Git.Branch, "main"), SubFolder: s.Git.SubFolder}
		if u, err := url.Parse(s.Git.URL); err == nil && u.User != nil {
			u.User = url.User(u.User.Username())
			out.URL = u.String()
		}
		return out
	case s.Controller != nil:
		return report.Source{Kind: "controller", Endpoints: s.Controller.Endpoints}
	}
	return report.Source{}
}

// open makes the source and says how often it is to be looked at.
func (s *SourceConfig) open(cacheDir string, logger loggers) (source.Source, time.Duration, error) {
	if s.Dir != nil {
		src, err := source.NewDir(source.DirConfig{
			Root: s.Dir.Path, Path: s.Dir.SubFolder, CacheDir: filepath.Join(cacheDir, "dir"), Logger: logger.source,
		})
		return src, time.Minute, err
	}
	if s.Controller != nil {
		src, err := source.NewStream(source.StreamConfig{CacheDir: filepath.Join(cacheDir, "controller"), Logger: logger.source})
		return src, time.Minute, err
	}
	g := s.Git
	poll := g.PollInterval
	if poll == 0 {
		poll = 30 * time.Second
	}
	src, err := source.NewGit(source.GitConfig{
		URL: g.URL, Branch: g.Branch, Path: g.SubFolder, CacheDir: filepath.Join(cacheDir, "git"), Logger: logger.source,
		HTTP:       source.HTTPAuth{Username: g.Username, TokenFile: g.TokenFile, CAFile: g.CAFile},
		SSH:        source.SSHAuth{KeyFile: g.SSHKeyFile, KnownHostsFile: g.KnownHostsFile},
		Signatures: source.Signatures{Required: g.RequireSignature, GPGKeyringFile: g.GPGKeyringFile, AllowedSignersFile: g.AllowedSignersFile},
	})
	return src, poll, err
}
