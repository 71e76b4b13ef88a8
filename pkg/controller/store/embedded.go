package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// memberName and peerURL name the only member. Nobody listens at the URL: a cluster of
	// one has no peers, but etcd wants a name for each.
	memberName = "ktrdr"
	peerURL    = "http://127.0.0.1:0"
	// dataFolder is etcd's own, in the store's.
	dataFolder = "etcd"
	// Elections of a cluster of one are won at the first tick after the timeout. Short
	// ticks make a start fast and cost wake-ups: 20 a second.
	tickMillis     = 50
	electionMillis = 250
	// Entries of the log since the last snapshot are replayed at a start, and those that a
	// slow follower may ask for stay in memory. Entries are up to a status long, and nobody
	// follows.
	snapshotEntries = 1000
	followerEntries = 100
	// retention is how much history stays for watches that were interrupted.
	retention = "5m"
	// maxRequest leaves room for a record of maxRecord and its transaction.
	maxRequest = 2 << 20
	// defragmentAbove is how many free megabytes make a start defragment the file.
	defragmentAbove = 256
)

// server is the embedded etcd and the lock of its folder.
type server struct {
	etcd *embed.Etcd
	lock *os.File
}

// start opens the data base. It returns when etcd has elected itself.
func (e *Embedded) start(ctx context.Context, log *slog.Logger) (*server, error) {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the store: %w", err)
	}
	//nolint:gosec // a folder needs the x that files don't
	if err := os.Chmod(e.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("close the folder of the store to others: %w", err)
	}
	lock, err := lockFolder(e.Dir)
	if err != nil {
		return nil, err
	}
	words := newLastWords()
	etcd, err := startEtcd(e.config(log, words), words)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the embedded etcd in %s: %w", e.Dir, err), lock.Close())
	}
	started := &server{etcd: etcd, lock: lock}
	select {
	case <-etcd.Server.ReadyNotify():
		words.started.Store(true)
		return started, nil
	case err = <-words.said:
		return nil, errors.Join(fmt.Errorf("start the embedded etcd in %s: %w", e.Dir, err), lock.Close())
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped by itself; the log says why")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("start the embedded etcd in %s: %w", e.Dir, err), started.stop())
}

func (e *Embedded) config(log *slog.Logger, words *lastWords) *embed.Config {
	peer, _ := url.Parse(peerURL)
	config := embed.NewConfig()
	config.Name = memberName
	config.Dir = filepath.Join(e.Dir, dataFolder)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(log).WithOptions(words.options()...))
	config.ListenClientUrls, config.AdvertiseClientUrls = nil, nil
	config.ListenPeerUrls, config.AdvertisePeerUrls = nil, []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(memberName)
	config.EnableGRPCGateway = false
	config.AuthToken = "" // nobody logs in
	config.TickMs, config.ElectionMs = tickMillis, electionMillis
	config.SnapshotCount, config.SnapshotCatchUpEntries = snapshotEntries, followerEntries
	config.AutoCompactionMode, config.AutoCompactionRetention = embed.CompactorModePeriodic, retention
	config.QuotaBackendBytes = e.QuotaBytes
	if config.QuotaBackendBytes == 0 {
		config.QuotaBackendBytes = defaultQuota
	}
	config.MaxRequestBytes = maxRequest
	config.BootstrapDefragThresholdMegabytes = defragmentAbove
	// A slow disk is worth a word, a slow minute of one is not.
	config.WarningApplyDuration = time.Second
	config.WarningUnaryRequestDuration = 2 * time.Second
	return config
}

func (s *server) stop() error {
	s.etcd.Close()
	return s.lock.Close()
}

// lockFolder keeps a second process out. etcd would wait for the first one without a word.
func lockFolder(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the store in %s: %w", dir, err), file.Close())
	}
	return file, nil
}
