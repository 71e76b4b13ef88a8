package connect

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// TokenConfig says where the access token is: exactly one is set. There is no way to give
// the token itself, because command lines and configuration files are read by others.
type TokenConfig struct {
	// File holds the token; only its owner may read it. It is read at every look.
	File string
	// Credential is the name of a systemd credential (LoadCredential=), read at every look.
	Credential string
	// Env is the name of an environment variable. It is read once, and taken out of the
	// environment so that no child process inherits it.
	Env string
}

const maxToken = 16 << 10

var (
	credentialName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	variableName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	jwtText        = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)
)

func (c *TokenConfig) validate() error {
	var set []string
	for _, one := range [][2]string{{"tokenFile", c.File}, {"tokenCredential", c.Credential}, {"tokenEnv", c.Env}} {
		if one[1] != "" {
			set = append(set, one[0])
		}
	}
	switch {
	case len(set) == 0:
		return errors.New("tokenFile: set one of tokenFile, tokenCredential and tokenEnv")
	case len(set) > 1:
		return fmt.Errorf("%s: set only one of %s", set[1], strings.Join(set, " and "))
	case c.File != "" && !filepath.IsAbs(c.File):
		return fmt.Errorf("tokenFile: %q must be an absolute path", c.File)
	case c.Credential != "" && !credentialName.MatchString(c.Credential):
		return errors.New("tokenCredential: must be the name of a systemd credential, not a path")
	case c.Env != "" && !variableName.MatchString(c.Env):
		return errors.New("tokenEnv: must be the name of an environment variable, not the token") // the text may be the token
	}
	return nil
}

// tokens reads the token and what it says about itself.
type tokens struct {
	cfg TokenConfig
	// fromEnv is the content of the variable.
	fromEnv secrets.Value

	mu    sync.Mutex
	last  secrets.Value
	state *api.TokenState
}

func newTokens(cfg TokenConfig) *tokens {
	t := &tokens{cfg: cfg}
	if cfg.Env != "" {
		t.fromEnv = secrets.NewValue(strings.TrimSpace(os.Getenv(cfg.Env)))
		_ = os.Unsetenv(cfg.Env) // fails for invalid names only
	}
	return t
}

// where names the place for people.
func (t *tokens) where() string {
	switch {
	case t.cfg.File != "":
		return t.cfg.File
	case t.cfg.Credential != "":
		return "the systemd credential " + t.cfg.Credential
	}
	return "the environment variable " + t.cfg.Env
}

// read returns the token as it is now.
func (t *tokens) read() (secrets.Value, error) {
	text, err := t.text()
	if err == nil && !jwtText.MatchString(text) {
		err = fmt.Errorf("holds no access token of Connect, which is made of three parts with dots between: "+
			"`op connect token create` prints one: %w", secrets.ErrDenied)
	}
	if err != nil {
		return secrets.Value{}, &secrets.Error{
			Class: api.Waiting, Reason: api.ReasonProviderDenied, Err: fmt.Errorf("token of 1Password Connect: %s %w", t.where(), err),
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if value := secrets.NewValue(text); !value.Equal(t.last) {
		t.last, t.state = value, parseToken(text)
	}
	return t.last, nil
}

func (t *tokens) text() (string, error) {
	var data []byte
	var err error
	switch {
	case t.cfg.Env != "":
		data = []byte(t.fromEnv.Open())
	case t.cfg.File != "":
		data, err = readFile(t.cfg.File, secrets.OpenPrivate)
	default:
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return "", fmt.Errorf("is not there: the unit needs LoadCredential=%s:FILE: %w", t.cfg.Credential, secrets.ErrUnreachable)
		}
		data, err = readFile(filepath.Join(dir, t.cfg.Credential), openCredential)
	}
	text := strings.TrimSpace(string(data))
	if err == nil && text == "" {
		err = fmt.Errorf("is empty: %w", secrets.ErrDenied)
	}
	return text, err
}

func readFile(path string, open func(string) (*os.File, os.FileInfo, error)) ([]byte, error) {
	file, _, err := open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	return secrets.ReadBounded(io.Reader(file), maxToken)
}

// openCredential leaves the mode to systemd, which guards the folder and may use ACLs.
func openCredential(path string) (*os.File, os.FileInfo, error) {
	file, err := os.Open(path) //nolint:gosec // the folder is systemd's, the name has no slash
	if err != nil {
		return nil, nil, fmt.Errorf("is not there: %w", secrets.ErrUnreachable)
	}
	return file, nil, nil
}

// parseToken reads what a token says: an ES256 JWT, which only the server can verify.
// Unknown forms give an empty state.
func parseToken(text string) *api.TokenState {
	state := &api.TokenState{}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err != nil {
		return state
	}
	var claims struct {
		Expires float64 `json:"exp"`
		Vaults  []struct {
			ID string `json:"u"`
		} `json:"1password.com/vts"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return state
	}
	if claims.Expires > 0 {
		state.Expires = time.Unix(int64(claims.Expires), 0).UTC()
	}
	for _, v := range claims.Vaults {
		state.Vaults = append(state.Vaults, api.VaultScope{ID: strings.ToLower(v.ID)})
	}
	return state
}

// told is what the last token said; nil before it was read.
func (t *tokens) told() *api.TokenState {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == nil {
		return nil
	}
	state := *t.state
	state.Vaults = append([]api.VaultScope(nil), t.state.Vaults...)
	return &state
}
