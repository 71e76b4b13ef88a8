package database

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/environ"
)

// clusterFile is the data that a recreated container must find again.
const clusterFile = "ktrdrsim.json"

// Config is what the database reads from its environment.
type Config struct {
	// Addr to listen on.
	Addr string
	// DataDir is PGDATA.
	DataDir string
	// User is POSTGRES_USER; default postgres.
	User string
	// Password is POSTGRES_PASSWORD; the first start needs it, later ones don't look.
	Password string
	// ReadyDelay is how long clients are told that the database starts (KTRDRSIM_READY_DELAY).
	ReadyDelay time.Duration
}

// FromEnv reads the configuration with lookup (os.Getenv in production).
func FromEnv(lookup environ.Lookup) (Config, error) {
	delay, err := lookup.Duration("KTRDRSIM_READY_DELAY", 0)
	if err != nil {
		return Config{}, err
	}
	dir := lookup("PGDATA")
	if dir == "" {
		return Config{}, errors.New("PGDATA is not set")
	}
	return Config{
		Addr:       ":" + cmp.Or(lookup("PGPORT"), "5432"),
		DataDir:    dir,
		User:       cmp.Or(lookup("POSTGRES_USER"), "postgres"),
		Password:   lookup("POSTGRES_PASSWORD"),
		ReadyDelay: delay,
	}, nil
}

// Cluster is what the data file holds.
type Cluster struct {
	// ID is drawn at the first start; another one later means that the data was lost.
	ID   string `json:"id"`
	User string `json:"user"`
	// Verifier is what is kept of the user's password.
	Verifier string `json:"verifier"`
}

// Open reads the cluster in the data directory, or makes one there.
func Open(cfg Config) (Cluster, error) {
	file := filepath.Join(cfg.DataDir, clusterFile)
	raw, err := os.ReadFile(file)
	if err == nil {
		var c Cluster
		if err := json.Unmarshal(raw, &c); err != nil {
			return Cluster{}, fmt.Errorf("read %s: %w", file, err)
		}
		return c, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return Cluster{}, fmt.Errorf("read cluster: %w", err)
	}
	if cfg.Password == "" {
		return Cluster{}, errors.New("database is uninitialized and POSTGRES_PASSWORD is not set")
	}
	id := make([]byte, 8)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(id)
	verifier, err := Verifier(cfg.Password)
	if err != nil {
		return Cluster{}, err
	}
	c := Cluster{ID: hex.EncodeToString(id), User: cfg.User, Verifier: verifier}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return Cluster{}, fmt.Errorf("make data directory: %w", err)
	}
	return c, writeCluster(file, c)
}

// Serve answers clients on cfg.Addr and on a local socket in the data directory until ctx ends.
func Serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	cluster, err := Open(cfg)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	socket := socketIn(cfg.DataDir)
	_ = os.Remove(socket) // of a server that was killed
	trusted, err := listen.Listen(ctx, "unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	log.Info("database started", "cluster", cluster.ID, "addr", listener.Addr().String(), "ready_in", cfg.ReadyDelay)
	s := &server{file: filepath.Join(cfg.DataDir, clusterFile), readyAt: time.Now().Add(cfg.ReadyDelay), cluster: cluster}
	var group errgroup.Group
	group.Go(func() error { return accept(ctx, listener, func(conn net.Conn) { s.answer(conn, nil) }) })
	group.Go(func() error { return accept(ctx, trusted, func(conn net.Conn) { s.answer(conn, s.alter) }) })
	return group.Wait()
}

// accept answers each client in a goroutine of its own.
func accept(ctx context.Context, listener net.Listener, answer func(net.Conn)) error {
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	var group errgroup.Group
	group.SetLimit(64)
	for {
		conn, err := listener.Accept()
		if err != nil {
			waitErr := group.Wait()
			if ctx.Err() != nil {
				return waitErr
			}
			return fmt.Errorf("accept: %w", err)
		}
		group.Go(func() error {
			answer(conn)
			return nil
		})
	}
}

// Exit codes of pg_isready.
const (
	Accepting  = 0
	Rejecting  = 1
	NoResponse = 2
)

// Probe asks the database at addr for its state, as pg_isready does, and returns the exit code.
func Probe(ctx context.Context, addr string) int {
	ctx, cancel := context.WithTimeout(ctx, talkTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return NoResponse
	}
	defer conn.Close()
	if conn.SetDeadline(deadline(ctx)) != nil {
		return NoResponse
	}
	line, err := (&talk{conn: conn, lines: bufio.NewReader(io.LimitReader(conn, talkLimit))}).ask(ping)
	if err != nil {
		return NoResponse
	}
	if strings.HasPrefix(line, ready) {
		return Accepting
	}
	return Rejecting
}
