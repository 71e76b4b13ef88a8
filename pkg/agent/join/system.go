package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// System starts and stops the agent.
type System interface {
	// Check says why the agent can't be started.
	Check(ctx context.Context) error
	// Start starts or restarts the agent, now and at each boot. It says what it did.
	Start(ctx context.Context) (done string, err error)
	// Stop ends that.
	Stop(ctx context.Context) (done string, err error)
}

// unitName is the agent's unit.
const unitName = "ktrdr-agent.service"

// Systemd is the machine's systemd.
type Systemd struct {
	// Unit is written where none is installed.
	Unit string
	// Root is the machine's root folder.
	Root string
	// Systemctl is the program. Default systemctl.
	Systemctl string
}

func (s Systemd) own() string { return filepath.Join(s.Root, "etc/systemd/system", unitName) }

// installed is the unit that a package or a person installed; empty without one.
func (s Systemd) installed() string {
	for _, dir := range []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		path := filepath.Join(s.Root, dir, unitName)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Check implements System.
func (s Systemd) Check(context.Context) error {
	if _, err := os.Stat(filepath.Join(s.Root, "run/systemd/system")); err != nil {
		return errors.New("systemd does not run here; with --no-service this program only gets the certificate and writes the configuration")
	}
	return nil
}

// Start implements System.
func (s Systemd) Start(ctx context.Context) (string, error) {
	var done []string
	if s.installed() == "" {
		if err := os.MkdirAll(filepath.Dir(s.own()), 0o755); err != nil { //nolint:gosec // as systemd has it
			return "", fmt.Errorf("write unit: %w", err)
		}
		if err := os.WriteFile(s.own(), []byte(s.Unit), 0o644); err != nil { //nolint:gosec // everybody may read units
			return "", fmt.Errorf("write unit: %w", err)
		}
		done = append(done, "wrote "+s.own())
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", unitName}, {"restart", unitName}} {
		if err := s.run(ctx, args...); err != nil {
			return strings.Join(done, ", "), err
		}
	}
	return strings.Join(append(done, "the agent runs, now and after each boot"), ", "), nil
}

// Stop implements System. A unit that differs from the one that Start writes stays.
func (s Systemd) Stop(ctx context.Context) (string, error) {
	if s.installed() == "" {
		return "there is no unit", nil
	}
	if err := s.run(ctx, "disable", "--now", unitName); err != nil {
		return "", err
	}
	done := "the agent is stopped and does not start any more"
	text, err := os.ReadFile(s.own())
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(text) != s.Unit {
		return done, nil
	}
	if err != nil {
		return done, fmt.Errorf("read unit: %w", err)
	}
	if err := os.Remove(s.own()); err != nil {
		return done, fmt.Errorf("remove unit: %w", err)
	}
	return done + ", removed " + s.own(), s.run(ctx, "daemon-reload")
}

// run runs systemctl, which waits until the agent says that it is up.
func (s Systemd) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	program := s.Systemctl
	if program == "" {
		program = "systemctl"
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() //nolint:gosec // fixed words
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %.500s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
