package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Settings are what the configuration file of an agent says, or defaults without one.
type Settings struct {
	// Node is empty without a file.
	Node string
	// Source says where the desired state comes from, for people; empty without a file.
	Source string
	// Endpoints are set when that is a controller.
	Endpoints      []string
	StateDir       string
	CredentialsDir string
}

// Request says what is joined.
type Request struct {
	// Controller as https://host:port or host:port.
	Controller string
	// Token is what the token's file has in it.
	Token string
	// ConfigFile is where the agent's configuration is, or goes.
	ConfigFile string
	// Read reads and checks a configuration file. Without a file its error is fs.ErrNotExist,
	// and the settings are the defaults.
	Read func(path string) (Settings, error)
	// Engine asks the engine of the configuration whether it is there.
	Engine func(ctx context.Context) (api.Engine, error)
	// System starts the agent.
	System System
	// DryRun only checks, Force replaces what is there.
	DryRun, Force bool
	// Out gets a line for each step.
	Out io.Writer
}

// maxSkew is how far the clocks of node and controller may be apart.
const maxSkew = time.Minute

// run is one join.
type run struct {
	Request
	token    pki.JoinToken
	target   string
	settings Settings
	// exists says that there is a configuration file.
	exists bool
	// joined says that there is a usable certificate of this fleet already.
	joined bool
}

// Run joins. The error of a step says what to do.
func Run(ctx context.Context, req Request) error {
	r := &run{Request: req}
	for _, step := range []func(context.Context) error{r.readToken, r.readConfig, r.reach, r.askEngine, r.askSystem, r.readCertificate} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if r.DryRun {
		r.say("nothing was changed (--dry-run)")
		return nil
	}
	for _, step := range []func(context.Context) error{r.redeem, r.writeConfig, r.start} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.say("node %s has joined; `ktrdrctl status` on this machine shows the connection", r.token.Node)
	return nil
}

func (r *run) say(format string, args ...any) { _, _ = fmt.Fprintf(r.Out, "- "+format+"\n", args...) }

func (r *run) readToken(context.Context) error {
	var err error
	if r.token, err = pki.ParseJoinToken(r.Token); err != nil {
		return fmt.Errorf("%w; ask for a new one: ktrdrctl node join-token NODE", err)
	}
	if r.target, err = target(r.Controller); err != nil {
		return err
	}
	r.say("the token is for node %s", r.token.Node)
	return nil
}

// target takes https://host:port or host:port.
func target(controller string) (string, error) {
	host := controller
	if strings.Contains(controller, "://") {
		u, err := url.Parse(controller)
		if err != nil || u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return "", fmt.Errorf("controller %q: write https://host:port", controller)
		}
		host = u.Host
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		return "", fmt.Errorf("controller %q: write https://host:port", controller)
	}
	return host, nil
}

// readConfig refuses to make another node, or one with another source, of a configured
// machine.
func (r *run) readConfig(context.Context) error {
	var err error
	r.settings, err = r.Read(r.ConfigFile)
	r.exists = !errors.Is(err, os.ErrNotExist)
	switch {
	case !r.exists:
		r.say("%s does not exist and will be written", r.ConfigFile)
		return nil
	case err != nil:
		return fmt.Errorf("the configuration that is there is not usable, correct it first: %w", err)
	case r.settings.Node != r.token.Node && !r.Force:
		return fmt.Errorf("%s is of node %s, the token is for node %s; --force makes it node %s", r.ConfigFile, r.settings.Node, r.token.Node, r.token.Node)
	case len(r.settings.Endpoints) == 0 && !r.Force:
		return fmt.Errorf("%s has the desired state from %s; --force replaces that by the controller and keeps a copy of the file", r.ConfigFile, r.settings.Source)
	}
	r.say("%s keeps all settings but node and source", r.ConfigFile)
	return nil
}

func (r *run) askEngine(ctx context.Context) error {
	engine, err := r.Engine(ctx)
	if err != nil {
		return fmt.Errorf("the container engine does not answer; start it (systemctl status docker), or correct engine.host in %s: %w", r.ConfigFile, err)
	}
	r.say("the engine answers: version %s", engine.Version)
	return nil
}

func (r *run) askSystem(ctx context.Context) error {
	if err := r.System.Check(ctx); err != nil {
		return err
	}
	if _, is := r.System.(Systemd); is {
		r.say("systemd runs and can start the agent")
	}
	return nil
}

// readCertificate finds out whether there is a certificate of this node and fleet already.
func (r *run) readCertificate(ctx context.Context) error {
	if _, err := os.Stat(r.settings.CredentialsDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	store, err := pki.OpenKeyStore(r.settings.CredentialsDir)
	if err != nil {
		return err
	}
	c, err := store.Load()
	switch {
	case errors.Is(err, pki.ErrNotEnrolled):
		return nil
	case err != nil && !r.Force:
		return fmt.Errorf("the credentials that are there can't be read; --force replaces them: %w", err)
	case err != nil:
		return nil //nolint:nilerr // what can't be read is replaced
	}
	own := c.Identity.Kind == pki.Node && c.Identity.Name == r.token.Node && time.Now().Before(c.NotAfter()) && c.Trusts(r.token.Pin)
	switch {
	case own && !r.Force:
		if r.joined = r.accepted(ctx, c); !r.joined {
			r.say("there is a certificate of this node, but the controller does not accept it any more; the token is used")
			return nil
		}
		r.say("there is a certificate of this node already, good until %s; the token is not used", c.NotAfter().UTC().Format(time.RFC3339))
	case !own && !r.Force:
		return fmt.Errorf("%s has another certificate (%s, until %s); --force replaces it", r.settings.CredentialsDir, c.Identity, c.NotAfter().UTC().Format(time.RFC3339))
	}
	return nil
}

func (r *run) redeem(ctx context.Context) error {
	if r.joined {
		return nil
	}
	// Containers of any user read files below it; the credentials' own folder is closed.
	if err := os.MkdirAll(filepath.Dir(r.settings.CredentialsDir), 0o711); err != nil { //nolint:gosec // see above
		return fmt.Errorf("make the folder for the credentials: %w", err)
	}
	store, err := pki.OpenKeyStore(r.settings.CredentialsDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "" // the audit trail has one detail less
	}
	c, endpoints, err := wire.Join(ctx, wire.Enrollment{Target: r.target, Token: r.token, Store: store, Version: api.Version, Hostname: hostname})
	if err != nil {
		return fmt.Errorf("nothing was configured; a token is good for one node, once, and for a limited time; ask for a new one (ktrdrctl node join-token %s) if this one was used: %w", r.token.Node, err)
	}
	for _, e := range endpoints {
		if e != r.target && len(r.settings.Endpoints) < 15 {
			r.settings.Endpoints = append(r.settings.Endpoints, e)
		}
	}
	r.say("certificate in %s, good until %s, renewed by itself", r.settings.CredentialsDir, c.NotAfter().UTC().Format(time.RFC3339))
	return nil
}

func (r *run) start(ctx context.Context) error {
	done, err := r.System.Start(ctx)
	if done != "" {
		r.say("%s", done)
	}
	if err != nil {
		return fmt.Errorf("everything is written, but the agent does not start; look at journalctl -u ktrdr-agent -e, then systemctl enable --now ktrdr-agent: %w", err)
	}
	return nil
}
