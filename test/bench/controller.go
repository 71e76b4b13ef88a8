package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// controller is one run of ktrdr-controller with its own authority, store and repository.
type controller struct {
	home, target, health string
	program, ctl         string
	repo                 string
	cmd                  *exec.Cmd
	log                  *os.File
	conn                 *grpc.ClientConn
}

// newController makes the authority and the first admin. Nothing runs yet.
func (b *bench) newController(ctx context.Context) (*controller, error) {
	home, err := os.MkdirTemp(b.dir, "controller-")
	if err != nil {
		return nil, err
	}
	c := &controller{home: home, program: filepath.Join(b.dir, "ktrdr-controller"), ctl: filepath.Join(b.dir, "ktrdrctl"), repo: filepath.Join(home, "repo")}
	port, health, err := twoPorts(ctx)
	if err != nil {
		return nil, err
	}
	c.target, c.health = "127.0.0.1:"+port, "127.0.0.1:"+health
	config := fmt.Sprintf("listen: %s\nnames: [localhost]\nips: [127.0.0.1]\nadvertise: ['%s']\nstateDir: %s\nmetrics: %s\nlog: {level: warn}\n",
		c.target, c.target, filepath.Join(home, "state"), c.health)
	err = errors.Join(
		goBuild(ctx, c.program, "-trimpath", "-ldflags=-s -w", "./cmd/controller"),
		goBuild(ctx, c.ctl, "-trimpath", "-ldflags=-s -w", "./cmd/ctl"),
		os.WriteFile(filepath.Join(home, "controller.yaml"), []byte(config), 0o600),
	)
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, c.program, "init", "--config", filepath.Join(home, "controller.yaml"), "--out", c.context()).CombinedOutput(); err != nil { //nolint:gosec // our own program
		return nil, fmt.Errorf("init: %w: %s", err, out)
	}
	return c, nil
}

// context is the admin's context file.
func (c *controller) context() string { return filepath.Join(c.home, "admin.yaml") }

// twoPorts of loopback that nobody had a moment ago.
func twoPorts(ctx context.Context) (first, second string, err error) {
	var listen net.ListenConfig
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // they were only asked for their numbers
		}
	}()
	var ports [2]string
	for i := range ports {
		l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		held = append(held, l)
		if _, ports[i], err = net.SplitHostPort(l.Addr().String()); err != nil {
			return "", "", err
		}
	}
	return ports[0], ports[1], nil
}

// start starts the controller and returns how long it took to be ready.
func (c *controller) start(ctx context.Context) (time.Duration, error) {
	var err error
	if c.log, err = os.Create(filepath.Join(c.home, "log")); err != nil {
		return 0, err
	}
	c.cmd = exec.Command(c.program, "run", "--config", filepath.Join(c.home, "controller.yaml")) //nolint:gosec,noctx // our own program, ended by stop
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	endWithUs(c.cmd)
	began := time.Now()
	if err := c.cmd.Start(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if c.ready(ctx) {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(c.log.Name())
			return 0, fmt.Errorf("the controller does not get ready:\n%s", said)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (c *controller) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.health+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (c *controller) stop() error {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(30*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	return errors.Join(c.cmd.Wait(), c.log.Close())
}

// admin is what the first admin's context file says.
type admin struct {
	Contexts []struct {
		Authority string `yaml:"authority"`
		Token     string `yaml:"token"`
	} `yaml:"contexts"`
}

// dial connects as the first admin.
func (c *controller) dial() (*grpc.ClientConn, error) {
	if c.conn != nil {
		return c.conn, nil
	}
	data, err := os.ReadFile(c.context())
	if err != nil {
		return nil, err
	}
	var a admin
	if err := yaml.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	if len(a.Contexts) != 1 {
		return nil, errors.New("the admin's file has not one context")
	}
	pem, err := base64.StdEncoding.DecodeString(a.Contexts[0].Authority)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	c.conn, err = wire.Dial(wire.Client{
		Target: c.target, Token: a.Contexts[0].Token, TLS: func() (*tls.Config, error) { return wire.TrustTLS(trusted), nil },
	})
	return c.conn, err
}

// joinToken makes a token for a node.
func (c *controller) joinToken(ctx context.Context, node string) (string, error) {
	conn, err := c.dial()
	if err != nil {
		return "", err
	}
	made, err := ktrdrv1.NewNodeServiceClient(conn).CreateJoinToken(ctx, &ktrdrv1.CreateJoinTokenRequest{Node: node})
	return made.GetJoinToken(), err
}

// run runs ktrdrctl as the first admin and returns its output.
func (c *controller) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.ctl, args...) //nolint:gosec // our own program
	cmd.Env = append(os.Environ(), "KTRDR_CONFIG="+c.context())
	return cmd.Output()
}

// git runs git in the working copy, as the first admin where it talks to the controller.
func (c *controller) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // arguments of this program
	cmd.Dir = c.repo
	// GIT_SSL_CAINFO of whoever runs this would win over the clone's own.
	cmd.Env = append(os.Environ(), "KTRDR_CONFIG="+c.context(), "GIT_SSL_CAINFO="+filepath.Join(c.repo, ".git", "ktrdr-authority.pem"),
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.org", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return out, nil
}

// push brings what is in the working copy to the controller.
func (c *controller) push(ctx context.Context) error {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", "one"}, {"push", "--quiet", "desired-state", "main"}} {
		if _, err := c.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
