package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/telemetry"
)

const (
	// backupURL is what the running controller answers on its socket. The host is for the header.
	backupURL = "http://controller/v1/backup"
	// backupStall is how long who gets a backup may take nothing, and who gives it send nothing.
	// A backup keeps the store from using freed space again.
	backupStall = 30 * time.Second
	// backupAnswer bounds the wait for its first byte.
	backupAnswer = 30 * time.Second
	maxRefusal   = 4096
)

// backupSocket is where a running controller with an embedded store gives out backups of it. The
// folder is the user's only: who gets in may read the store itself.
func (c *Config) backupSocket() string {
	return filepath.Join(c.store().Embedded.Dir, "backup.sock")
}

// Backup writes a backup of the store to w: of an embedded one by the controller that runs, if
// one does, and says which. Nothing is whole before it has returned nil.
func Backup(ctx context.Context, cfg Config, w io.Writer) (of string, err error) {
	of = cfg.storeName()
	check := store.NewCheck(w)
	if cfg.Etcd.External != nil {
		err = store.Save(ctx, cfg.store(), check)
	} else {
		err = cfg.backupEmbedded(ctx, check)
	}
	if err == nil {
		if err = check.Whole(); err != nil {
			err = fmt.Errorf("back the store up: %w", err)
		}
	}
	return of, err
}

func (c *Config) storeName() string {
	s := c.store()
	if s.External == nil {
		return "the embedded store in " + s.Embedded.Dir
	}
	return fmt.Sprintf("the store under %s of etcd at %s", prefixOf(s.External), strings.Join(s.External.Endpoints, ", "))
}

func prefixOf(e *store.External) string { return cmp.Or(e.Prefix, store.DefaultPrefix) }

func (c *Config) backupEmbedded(ctx context.Context, w io.Writer) error {
	err := c.askForBackup(ctx, w)
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.ownState(); err != nil {
		return err
	}
	err = store.Save(ctx, c.store(), w)
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("back the store up: the controller has it open and gives out no backups: it starts or stops right now, so try again, or its log says why not (%w)", err)
	}
	return err
}

// askForBackup gets it from the controller that has the store open.
func (c *Config) askForBackup(ctx context.Context, w io.Writer) error {
	dialer := net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", c.backupSocket())
			if err != nil {
				return nil, err
			}
			return impatient{conn, backupStall}, nil
		},
		ResponseHeaderTimeout: backupAnswer, DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, backupURL, http.NoBody)
	if err != nil {
		return fmt.Errorf("back the store up: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("back the store up: %w: only root and the controller's user may", err)
	}
	if err != nil {
		return fmt.Errorf("back the store up: ask the running controller: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return fmt.Errorf("back the store up: the running controller: %s", strings.TrimSpace(string(why)))
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("back the store up: the running controller's log says why it broke off, unless this end can't write: %w", err)
	}
	return nil
}

// impatient is a connection on which something has to come in time: a controller that hangs
// would keep a nightly backup for ever.
type impatient struct {
	net.Conn

	stall time.Duration
}

// Read implements net.Conn.
func (c impatient) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// ownStore is ownState for what writes to the store only: an external one is nobody's files.
func (c *Config) ownStore() error {
	if c.Etcd.External != nil {
		return nil
	}
	return c.ownState()
}

// ownState refuses to make files that the controller could not open afterwards.
func (c *Config) ownState() error {
	info, err := os.Stat(c.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the state folder: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	name := strconv.Itoa(int(owner.Uid))
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	return fmt.Errorf("%s belongs to the user %s, and the controller could not read what another one makes in it: runuser -u %s -- ktrdr-controller …", c.StateDir, name, name)
}

// serveBackups gives out backups of an embedded store. A controller that can't does its work
// without.
func (c *Controller) serveBackups(ctx context.Context, g *errgroup.Group) {
	if c.cfg.Etcd.External != nil {
		return
	}
	l, err := telemetry.ListenUnix(ctx, c.cfg.backupSocket())
	if err != nil {
		c.log.ErrorContext(ctx, "no backups while the controller runs; a shorter stateDir may help", "err", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/backup", c.giveBackup)
	g.Go(func() error { return telemetry.Serve(ctx, l, mux) })
}

func (c *Controller) giveBackup(w http.ResponseWriter, r *http.Request) {
	to := &patient{to: w, control: http.NewResponseController(w), stall: backupStall}
	err := c.store.Snapshot(r.Context(), to)
	switch {
	case err == nil:
		c.log.InfoContext(r.Context(), "store is backed up", "bytes", to.written)
	case to.written == 0:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		c.log.WarnContext(r.Context(), "backup of the store broke off", "bytes", to.written, "err", err)
		panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http cuts an answer, so that whoever asked sees it
	}
}

// patient gives each write the time that it may stall, and all of them no end.
type patient struct {
	to      io.Writer
	control *http.ResponseController
	stall   time.Duration
	written int64
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, err
	}
	n, err := p.to.Write(b)
	p.written += int64(n)
	return n, err
}
