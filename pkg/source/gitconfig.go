package source

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// branchName is the part of git's rules for reference names that matters for a name that is only compared and printed.
var branchName = regexp.MustCompile(`^[^\x00-\x20~^:?*\[\\\x7f]+$`)

// GitConfig describes a git repository as a source.
type GitConfig struct {
	// URL of the repository: https://host/path, ssh://user@host[:port]/path, user@host:path, file:///path or a plain
	// absolute path. Required. It holds no password, query or fragment.
	URL string
	// Branch is the short name of the branch to follow, wherever it is pointed. Default "main"; "" means that.
	Branch string
	// Path is the sub-folder of the repository to use, with slashes. Default "" is the whole repository.
	Path string
	// History fetches all commits of the branch, not the newest alone. Default false. A cache that was filled without it
	// is of no use with it.
	History bool
	// CacheDir is where the repository and the trees are kept, owned by this source alone. Required.
	CacheDir string
	// HTTP is used for https URLs only.
	HTTP HTTPAuth
	// SSH is used for ssh URLs only.
	SSH SSHAuth
	// Signatures says whose commits are accepted. The zero value accepts all.
	Signatures Signatures
	// Limits bound tree and transfer. Zero values mean the defaults.
	Limits Limits
	// Timeout bounds one Fetch when ctx has no nearer deadline. Default 1 min; 0 means the default.
	Timeout time.Duration
	// Logger gets a warning when the cache was corrupt and is cloned again. nil discards.
	Logger *slog.Logger
}

// HTTPAuth is how the source shows itself to an https server.
type HTTPAuth struct {
	// Username goes with the token. Default "git", which GitHub, GitLab and Gitea accept with any token; Azure
	// DevOps and Bitbucket want their own. A user name in the URL comes before the default.
	Username string
	// TokenFile holds the token; read at every Fetch, so that a rotated token is used at once. "" sends none.
	TokenFile string
	// Token returns the token, in place of TokenFile. Called at every Fetch. nil means TokenFile.
	Token func() (string, error)
	// CAFile holds PEM certificates that are trusted in addition to the system's. "" adds none. Read at every Fetch.
	CAFile string
}

// SSHAuth is how the source shows itself to an ssh server, and knows it again. There is no mode without host keys.
type SSHAuth struct {
	// KeyFile is a private key without a passphrase, readable by its owner only. Required for ssh URLs.
	KeyFile string
	// KnownHostsFile is in OpenSSH's format; hashed names and @cert-authority work. Required for ssh URLs.
	KnownHostsFile string
}

// Signatures configures who may have signed the newest commit. Commits before it are not looked at.
type Signatures struct {
	// Required refuses commits that no key below verifies. Default false: a signature only fills in the Signer.
	Required bool
	// GPGKeyringFile holds armored OpenPGP public keys. "" means none.
	GPGKeyringFile string
	// AllowedSignersFile is in OpenSSH's allowed_signers format. "" means none.
	AllowedSignersFile string
}

// DefaultGitConfig returns a configuration that lacks only URL and CacheDir, and what the URL's kind requires.
func DefaultGitConfig() GitConfig { return GitConfig{}.withDefaults() }

func (c GitConfig) withDefaults() GitConfig {
	if c.Branch == "" {
		c.Branch = "main"
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

// Validate returns all problems joined. It looks at the text only, not at files and network.
func (c GitConfig) Validate() error {
	errs := []error{c.Limits.Validate(), localPath(c.Path)}
	ep, err := c.endpoint()
	switch {
	case err != nil:
		errs = append(errs, err)
	case ep.Protocol == "ssh":
		errs = append(errs, c.SSH.validate())
	}
	if c.Branch != "" && (!branchName.MatchString(c.Branch) || strings.Contains(c.Branch, "..") || strings.HasPrefix(c.Branch, "refs/")) {
		errs = append(errs, fmt.Errorf("branch: %q is no short branch name", c.Branch))
	}
	if c.CacheDir == "" {
		errs = append(errs, errors.New("cacheDir: name a folder for the repository and the trees"))
	}
	if c.HTTP.Token != nil && c.HTTP.TokenFile != "" {
		errs = append(errs, errors.New("http: token and tokenFile exclude each other"))
	}
	if c.Signatures.Required && c.Signatures.GPGKeyringFile == "" && c.Signatures.AllowedSignersFile == "" {
		errs = append(errs, errors.New("signatures: required, but neither gpgKeyringFile nor allowedSignersFile says by whom"))
	}
	if c.Timeout < 0 {
		errs = append(errs, fmt.Errorf("timeout: %s is negative", c.Timeout))
	}
	return errors.Join(errs...)
}

func (a SSHAuth) validate() error {
	var errs []error
	if a.KeyFile == "" {
		errs = append(errs, errors.New("ssh.keyFile: an ssh URL needs a private key (ssh-keygen -t ed25519 -N '')"))
	}
	if a.KnownHostsFile == "" {
		errs = append(errs, errors.New("ssh.knownHostsFile: an ssh URL needs the host's keys (ssh-keyscan, then compare the fingerprint)"))
	}
	return errors.Join(errs...)
}

// endpoint parses the URL. Its errors never repeat a URL that holds a password.
func (c GitConfig) endpoint() (*transport.Endpoint, error) {
	if c.URL == "" {
		return nil, errors.New("url: name the repository")
	}
	ep, err := transport.NewEndpoint(c.URL)
	if err != nil {
		// url.Parse repeats its input.
		return nil, errors.New("url: is neither a URL nor user@host:path nor an absolute path")
	}
	switch {
	case ep.Password != "":
		return nil, errors.New("url: holds a password; put it in a token file")
	case strings.ContainsAny(c.URL, "?#") && ep.Protocol != "file":
		return nil, errors.New("url: must have no query and no fragment")
	case ep.Protocol == "http":
		return nil, errors.New("url: http would show token and content to the network; use https")
	case ep.Protocol != "https" && ep.Protocol != "ssh" && ep.Protocol != "file":
		return nil, fmt.Errorf("url: scheme %q is not supported; use https, ssh or file", ep.Protocol)
	case ep.Protocol == "file" && (ep.Host != "" || !strings.HasPrefix(c.URL, "/") && !strings.HasPrefix(c.URL, "file:///")):
		return nil, errors.New("url: a path must be absolute, and a file URL must have no host")
	case ep.Protocol != "file" && ep.Host == "":
		return nil, errors.New("url: has no host")
	}
	return ep, nil
}
