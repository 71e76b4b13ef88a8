package contexts

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Context is one fleet or one agent. Contents are base64 of PEM; of a content and its file
// at most one is set. Files are relative to the folder of the file with the contexts.
type Context struct {
	Name string `yaml:"name"`
	// Agent is unix:///path or http://host:port.
	Agent string `yaml:"agent,omitempty"`
	// Controller is https://host:port.
	Controller string `yaml:"controller,omitempty"`
	// Others are more controllers of the fleet, which are asked when that one does not answer.
	Others []string `yaml:"others,omitempty"`
	// Authority is whom the controller's certificate has to be of.
	Authority     string `yaml:"authority,omitempty"`
	AuthorityFile string `yaml:"authorityFile,omitempty"`
	// Token is an operator's access token.
	Token     string `yaml:"token,omitempty"`
	TokenFile string `yaml:"tokenFile,omitempty"`
	// Certificate and Key are an operator's, in the place of a token.
	Certificate     string `yaml:"certificate,omitempty"`
	CertificateFile string `yaml:"certificateFile,omitempty"`
	Key             string `yaml:"key,omitempty"`
	KeyFile         string `yaml:"keyFile,omitempty"`
}

// Credentials are what a context has for its controller, as PEM. Nothing of it may be
// printed.
type Credentials struct {
	Authority, Certificate, Key []byte
	Token                       string
}

// Encode makes content for a context of a PEM text.
func Encode(pem []byte) string { return base64.StdEncoding.EncodeToString(pem) }

// Validate checks everything that can be checked without reading a file.
func (c *Context) Validate() error {
	if !isName(c.Name) {
		return fmt.Errorf("context %q: write a name of letters, digits, '.', '_' and '-'", c.Name)
	}
	err := c.validate()
	if err != nil {
		return fmt.Errorf("context %s: %w", c.Name, err)
	}
	return nil
}

func isName(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name)
}

func (c *Context) validate() error {
	if (c.Agent == "") == (c.Controller == "") {
		return errors.New("write either controller or agent")
	}
	if c.Agent != "" {
		if !reflect.DeepEqual(*c, Context{Name: c.Name, Agent: c.Agent}) {
			return errors.New("an agent has no credentials: access to its socket is the credential")
		}
		return nil
	}
	if _, err := c.Hosts(); err != nil {
		return err
	}
	pairs := []struct{ name, content, file string }{
		{"authority", c.Authority, c.AuthorityFile},
		{"token", c.Token, c.TokenFile},
		{"certificate", c.Certificate, c.CertificateFile},
		{"key", c.Key, c.KeyFile},
	}
	set := map[string]bool{}
	for _, p := range pairs {
		if p.content != "" && p.file != "" {
			return fmt.Errorf("write one of %s and %sFile", p.name, p.name)
		}
		set[p.name] = p.content+p.file != ""
	}
	switch {
	case !set["authority"]:
		return errors.New("authority or authorityFile is missing: the certificate of the fleet's authority")
	case set["certificate"] != set["key"]:
		return errors.New("certificate and key belong together")
	case set["token"] && set["key"]:
		return errors.New("write either a token or certificate and key")
	}
	return nil
}

// For is a context of the same name for the same controllers, without credentials.
func (c *Context) For() Context {
	return Context{Name: c.Name, Controller: c.Controller, Others: c.Others}
}

// Host is the first controller's host:port.
func (c *Context) Host() (string, error) {
	host, err := hostOf(c.Controller)
	if err != nil {
		return "", fmt.Errorf("controller: %w", err)
	}
	return host, nil
}

// maxControllers bounds how many controllers a context may have.
const maxControllers = 16

// Hosts are host:port of all controllers, in the order in which they are asked.
func (c *Context) Hosts() ([]string, error) {
	first, err := c.Host()
	if err != nil {
		return nil, err
	}
	if len(c.Others) >= maxControllers {
		return nil, fmt.Errorf("others: at most %d", maxControllers-1)
	}
	hosts := []string{first}
	for i, other := range c.Others {
		host, err := hostOf(other)
		if err != nil {
			return nil, fmt.Errorf("others[%d]: %w", i, err)
		}
		if slices.Contains(hosts, host) {
			return nil, fmt.Errorf("others[%d]: %s is there already", i, host)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func hostOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("write https://host:port")
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// DefaultPort is the controller's where the address has none.
const DefaultPort = "8443"

// Credentials reads the context's files; dir is the folder that they are relative to.
// Files with secrets are refused when others can read them.
func (c *Context) Credentials(dir string) (*Credentials, error) {
	r := reader{dir: dir}
	creds := &Credentials{
		Authority:   r.pem("authority", c.Authority, c.AuthorityFile),
		Certificate: r.pem("certificate", c.Certificate, c.CertificateFile),
		Key:         r.key(c.Key, c.KeyFile),
		Token:       r.token(c.Token, c.TokenFile),
	}
	if r.err != nil {
		return nil, fmt.Errorf("context %s: %w", c.Name, r.err)
	}
	return creds, nil
}

// reader keeps its first error.
type reader struct {
	dir string
	err error
}

func (r *reader) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) pem(what, content, file string) []byte {
	if file != "" {
		text, err := os.ReadFile(r.path(file))
		if err != nil {
			r.fail(fmt.Errorf("%sFile: %w", what, err))
		}
		return text
	}
	text, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		r.fail(fmt.Errorf("%s is no base64", what))
	}
	return text
}

func (r *reader) key(content, file string) []byte {
	if file == "" {
		return r.pem("key", content, "")
	}
	text, err := ReadPrivate(r.path(file))
	if err != nil {
		r.fail(fmt.Errorf("keyFile: %w", err))
	}
	return text
}

func (r *reader) token(content, file string) string {
	if file != "" {
		text, err := ReadPrivate(r.path(file))
		if err != nil {
			r.fail(fmt.Errorf("tokenFile: %w", err))
			return ""
		}
		content = string(text)
	}
	content = strings.TrimSpace(content)
	if err := CheckToken(content); content != "" && err != nil {
		r.fail(err)
	}
	return content
}

// CheckToken wants what can stand in a header.
func CheckToken(token string) error {
	if token == "" || len(token) > 4096 || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return errors.New("the token is no token: it is one word of visible ASCII characters")
	}
	return nil
}
