package controller

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/source"
)

// FollowConfig follows a branch of a remote repository; changes are pushed to it.
type FollowConfig struct {
	// URL as in `git clone`: https or ssh. Required. It holds no password.
	URL string `yaml:"url"`
	// Branch, default main.
	Branch string `yaml:"branch"`
	// PollInterval between looks at the branch. Default 1m, at least 1s.
	PollInterval time.Duration `yaml:"pollInterval"`
	// Username and TokenFile are for https; the file is read at every look.
	Username  string `yaml:"username"`
	TokenFile string `yaml:"tokenFile"`
	// CAFile adds certificates that https servers may show.
	CAFile string `yaml:"caFile"`
	// SSHKeyFile and KnownHostsFile are for ssh, both required there.
	SSHKeyFile     string `yaml:"sshKeyFile"`
	KnownHostsFile string `yaml:"knownHostsFile"`
	// RequireSignature refuses commits that none of the keys below signed; changes by
	// ktrdrctl are refused then.
	RequireSignature   bool   `yaml:"requireSignature"`
	GPGKeyringFile     string `yaml:"gpgKeyringFile"`
	AllowedSignersFile string `yaml:"allowedSignersFile"`
	// AllowForce accepts a branch that has lost accepted commits. Default false.
	AllowForce bool `yaml:"allowForce"`
	// WebhookSecretFile turns on POST /v1/webhook, which makes the controller look at once.
	// Only the owner may be able to read it.
	WebhookSecretFile string `yaml:"webhookSecretFile"`
}

func (f *FollowConfig) interval() time.Duration {
	if f.PollInterval == 0 {
		return time.Minute
	}
	return f.PollInterval
}

// follower looks at a remote repository: at each interval while this controller leads, and
// whenever it is rung.
type follower struct {
	repo     *repo.Followed
	interval time.Duration
	ring     chan struct{}

	mu    sync.Mutex
	err   error
	since time.Time
}

// followElection is won by the controller that looks at the remote repository.
const followElection = "repository"

func (c *Controller) openFollowed(ctx context.Context, f *FollowConfig) error {
	followed, err := repo.OpenFollowed(ctx, repo.FollowedConfig{
		Dir: filepath.Join(c.cfg.StateDir, "repository"), Gate: c.gate, Head: c.head, Interval: f.interval(), AllowForce: f.AllowForce, Logger: c.log,
		Source: source.GitConfig{
			URL: f.URL, Branch: f.Branch,
			HTTP:       source.HTTPAuth{Username: f.Username, TokenFile: f.TokenFile, CAFile: f.CAFile},
			SSH:        source.SSHAuth{KeyFile: f.SSHKeyFile, KnownHostsFile: f.KnownHostsFile},
			Signatures: source.Signatures{Required: f.RequireSignature, GPGKeyringFile: f.GPGKeyringFile, AllowedSignersFile: f.AllowedSignersFile},
		},
	})
	if err != nil {
		return err
	}
	c.repo = followed
	c.follower = &follower{repo: followed, interval: f.interval(), ring: make(chan struct{}, 1)}
	return nil
}

// follow runs until ctx ends.
func (c *Controller) follow(ctx context.Context) error {
	var looks sync.WaitGroup
	defer looks.Wait()
	looks.Go(func() { c.follower.rung(ctx) })
	err := c.session.Lead(ctx, followElection, func(ctx context.Context) error {
		ticker := time.NewTicker(c.follower.interval)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if err := c.follower.look(ctx); err != nil && ctx.Err() == nil {
				c.log.WarnContext(ctx, "followed repository gives no new head", "err", err)
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end was asked for
	}
	return err
}

// rung looks when somebody rings, whoever leads: a compare-and-swap decides who moves the head.
func (f *follower) rung(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.ring:
			_ = f.look(ctx) // what goes wrong shows in the conditions
		}
	}
}

// look asks the remote repository once.
func (f *follower) look(ctx context.Context) error {
	_, err := f.repo.Sync(ctx)
	if ctx.Err() != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if (err == nil) != (f.err == nil) {
		f.since = time.Now()
	}
	f.err = err
	return err
}

// Ring makes it look soon. It does not block.
func (f *follower) Ring() {
	select {
	case f.ring <- struct{}{}:
	default:
	}
}

// problem is why there is no new head; nil when all is well.
func (f *follower) problem() *api.Condition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return nil
	}
	reason := api.ReasonSourceFailed
	if isRefusal(f.err) {
		reason = api.ReasonInvalid
	}
	return &api.Condition{Type: api.ConditionDegraded, Status: true, Reason: reason, Object: "repository", Message: f.err.Error(), Since: f.since}
}
