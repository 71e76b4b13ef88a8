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

// Words of the protocol: a client sends ping and gets ready or starting.
const (
	ping     = "PING"
	ready    = "READY"
	starting = "STARTING"
)

// talkTime bounds one conversation; lineLimit bounds what is read of it, in bytes.
const (
	talkTime  = 5 * time.Second
	lineLimit = 256
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
	// HasPassword says whether POSTGRES_PASSWORD is set; the first start needs it, later ones don't look.
	HasPassword bool
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
		Addr:        ":" + cmp.Or(lookup("PGPORT"), "5432"),
		DataDir:     dir,
		User:        cmp.Or(lookup("POSTGRES_USER"), "postgres"),
		HasPassword: lookup("POSTGRES_PASSWORD") != "",
		ReadyDelay:  delay,
	}, nil
}

// Cluster is what the data file holds.
type Cluster struct {
	// ID is drawn at the first start; another one later means that the data was lost.
	ID   string `json:"id"`
	User string `json:"user"`
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
	if !cfg.HasPassword {
		return Cluster{}, errors.New("database is uninitialized and POSTGRES_PASSWORD is not set")
	}
	id := make([]byte, 8)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(id)
	c := Cluster{ID: hex.EncodeToString(id), User: cfg.User}
	if raw, err = json.Marshal(c); err != nil {
		return Cluster{}, fmt.Errorf("encode cluster: %w", err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return Cluster{}, fmt.Errorf("make data directory: %w", err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return Cluster{}, fmt.Errorf("write cluster: %w", err)
	}
	return c, nil
}

// Serve answers clients on cfg.Addr until ctx ends.
func Serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	cluster, err := Open(cfg)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("database started", "cluster", cluster.ID, "addr", listener.Addr().String(), "ready_in", cfg.ReadyDelay)
	readyAt := time.Now().Add(cfg.ReadyDelay)
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
			answer(conn, cluster, readyAt)
			return nil
		})
	}
}

// answer ends without a word when the client says nothing that is understood: a bare connect is a valid liveness check.
func answer(conn net.Conn, cluster Cluster, readyAt time.Time) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(talkTime)) != nil {
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, lineLimit)).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != ping {
		return
	}
	reply := ready + " " + cluster.ID
	if time.Now().Before(readyAt) {
		reply = starting
	}
	_, _ = io.WriteString(conn, reply+"\n")
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
	if conn.SetDeadline(time.Now().Add(talkTime)) != nil {
		return NoResponse
	}
	if _, err := io.WriteString(conn, ping+"\n"); err != nil {
		return NoResponse
	}
	line, err := bufio.NewReader(io.LimitReader(conn, lineLimit)).ReadString('\n')
	if err != nil {
		return NoResponse
	}
	if strings.HasPrefix(line, ready) {
		return Accepting
	}
	return Rejecting
}
