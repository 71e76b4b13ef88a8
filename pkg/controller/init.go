package controller

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Admission asks for access of an operator on the controller's own machine.
type Admission struct {
	Name string
	Role string
	// File gets the credentials as a context of ktrdrctl, mode 0600. It must not exist.
	File string
	// Once makes Init do nothing when the fleet has an operator already.
	Once bool
}

// Init makes the fleet's authority, unless there is one, and the first admin, and writes the
// admin's credentials. A fleet in an external store that has operators keeps them: this machine
// is found fit for one more controller then, and admitted is false. With an embedded store the
// controller must not run.
func Init(ctx context.Context, cfg Config, a Admission) (admitted bool, err error) {
	if err := cfg.ownState(); err != nil {
		return false, err
	}
	if err := prepareState(&cfg); err != nil {
		return false, err
	}
	s, err := store.Open(ctx, cfg.store())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	authority, err := cfg.found(ctx, s)
	if err != nil {
		return false, err
	}
	if cfg.Etcd.External != nil || a.Once {
		operators, err := s.Operators().List(ctx)
		if err != nil || len(operators) > 0 {
			return false, err
		}
	}
	if a.Once {
		// What a crash left holds nothing that works.
		if err := os.Remove(a.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("write credentials: %w", err)
		}
	}
	return true, admit(ctx, &cfg, s, grant{authority, a})
}

// AddOperator makes an operator, or gives one new access, for who has the machine. With an
// embedded store the controller must not run.
func AddOperator(ctx context.Context, cfg Config, a Admission) error {
	return cfg.withAuthority(ctx, func(s *store.Store, authority *pki.Authority) error {
		if err := agree(ctx, s, authority, "operator add"); err != nil {
			return err
		}
		return admit(ctx, &cfg, s, grant{authority, a})
	})
}

// grant is an admission by an authority.
type grant struct {
	authority *pki.Authority
	Admission
}

func prepareState(cfg *Config) error {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	return nil
}

// admit grants access and writes it down. The file comes first: a token that can't be kept
// is one that nobody has.
func admit(ctx context.Context, cfg *Config, s *store.Store, a grant) (err error) {
	out, err := os.OpenFile(a.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			_ = os.Remove(a.File) // it holds nothing that works
		}
	}()
	service := enroll.New(enroll.Config{
		Store: s, Authority: func() *pki.Authority { return a.authority }, Recheck: func(context.Context) {}, Log: slog.New(slog.DiscardHandler),
	})
	granted, err := service.Grant(ctx, enroll.Grant{Name: a.Name, Role: store.Role(a.Role), By: "controller/machine"})
	if err != nil {
		return err
	}
	text, err := cfg.context(a.authority, a.Name, granted.Token)
	if err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return out.Sync()
}

// contextFile is the form of ktrdrctl's file of contexts.
type contextFile struct {
	APIVersion string         `yaml:"apiVersion"`
	Kind       string         `yaml:"kind"`
	Current    string         `yaml:"current"`
	Contexts   []contextEntry `yaml:"contexts"`
}

type contextEntry struct {
	Name       string `yaml:"name"`
	Controller string `yaml:"controller"`
	// Others are more controllers of the fleet.
	Others    []string `yaml:"others,omitempty"`
	Authority string   `yaml:"authority"`
	Token     string   `yaml:"token"`
}

func (c *Config) context(authority *pki.Authority, operator string, token *pki.OperatorToken) ([]byte, error) {
	names, ips, err := c.reachable()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(c.address(names, ips))
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	own := net.JoinHostPort(host, port)
	var others []string
	for _, each := range c.Advertise {
		if other := "https://" + each; each != own && !slices.Contains(others, other) { // ktrdrctl takes each once
			others = append(others, other)
		}
	}
	entry := contextEntry{
		Name: operator, Controller: "https://" + own, Others: others,
		Authority: base64.StdEncoding.EncodeToString(authority.BundlePEM()), Token: token.Text(),
	}
	return yaml.Marshal(contextFile{APIVersion: "ktrdr.io/v1alpha1", Kind: "Config", Current: operator, Contexts: []contextEntry{entry}})
}

// CredentialsFile is where Init writes when nothing else is said.
func (c *Config) CredentialsFile() string { return filepath.Join(c.StateDir, "admin.yaml") }
