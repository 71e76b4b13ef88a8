package controller

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"time"

	"ktrdr.io/fleet/pkg/configfile"
	"ktrdr.io/fleet/pkg/controller/store"
)

// Config is the controller's configuration file, /etc/ktrdr/controller.yaml. Unknown keys are
// errors; without a file the defaults are in force.
type Config struct {
	// Listen is the one port for agents, ktrdrctl, git and Prometheus. Default ":8443".
	Listen string `yaml:"listen"`
	// Names and IPs by which the controller is reached; its certificate is for them. Default:
	// the machine's host name and localhost, and all addresses of its interfaces.
	Names []string     `yaml:"names"`
	IPs   []netip.Addr `yaml:"ips"`
	// Advertise are controllers as host:port that agents are told of: with several controllers,
	// all of them, the same list on each. Default: Address.
	Advertise []string `yaml:"advertise"`
	// Address is where other controllers of the fleet reach this one, as host:port. Default: the
	// first name, else the first IP, with the port of Listen.
	Address string `yaml:"address"`
	// StateDir holds the authority, the store and the repository. Default
	// /var/lib/ktrdr-controller.
	StateDir string `yaml:"stateDir"`
	// Etcd is the store. Default: embedded.
	Etcd EtcdConfig `yaml:"etcd"`
	// Repository of the desired state: hosted here, or a remote one that is followed. Default:
	// hosted, branch main.
	Repository RepositoryConfig `yaml:"repository"`
	// Metrics is the address of /healthz, /readyz and /metrics. Default 127.0.0.1:9181; ""
	// turns them off.
	Metrics *string `yaml:"metrics"`
	// AllowRemote accepts a Metrics address that is not loopback. Default false.
	AllowRemote bool `yaml:"allowRemote"`
	// Log configures the log on standard error.
	Log LogConfig `yaml:"log"`
}

// EtcdConfig names one store.
type EtcdConfig struct {
	Embedded *EmbeddedConfig `yaml:"embedded"`
	External *ExternalConfig `yaml:"external"`
}

// EmbeddedConfig runs etcd in the process.
type EmbeddedConfig struct {
	// QuotaBytes is where writes are refused. Default 2 GiB.
	QuotaBytes int64 `yaml:"quotaBytes"`
}

// ExternalConfig is a cluster that somebody else runs.
type ExternalConfig struct {
	// Endpoints as https://host:2379. Required.
	Endpoints []string `yaml:"endpoints"`
	// CAFile, CertFile and KeyFile are TLS; the certificate is the client's.
	CAFile   string `yaml:"caFile"`
	CertFile string `yaml:"certFile"`
	KeyFile  string `yaml:"keyFile"`
	// Username and PasswordFile are for etcd's own authentication.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"passwordFile"`
	// Prefix of all keys. Default /ktrdr/.
	Prefix string `yaml:"prefix"`
	// Lease is how long a controller that died counts as there. Default 10s.
	Lease time.Duration `yaml:"lease"`
}

// RepositoryConfig names one repository.
type RepositoryConfig struct {
	Hosted *HostedConfig `yaml:"hosted"`
	Follow *FollowConfig `yaml:"follow"`
}

// HostedConfig keeps the repository here; git pushes to the controller.
type HostedConfig struct {
	// Branch is the one branch. Default main.
	Branch string `yaml:"branch"`
	// AllowForce lets pushes take commits back. Default false.
	AllowForce bool `yaml:"allowForce"`
}

// LogConfig configures the log.
type LogConfig struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level"`
	// Format is text (default) or json.
	Format string `yaml:"format"`
}

// defaultPort is what ktrdrctl takes where an address has none.
const defaultPort = "8443"

// Default returns the configuration that a file starts from.
func Default() Config {
	metrics := "127.0.0.1:9181"
	return Config{
		Listen: ":" + defaultPort, StateDir: "/var/lib/ktrdr-controller",
		Metrics: &metrics, Log: LogConfig{Level: "info", Format: "text"},
	}
}

// ReadConfig reads and validates a configuration file. Errors name file, line and column.
func ReadConfig(path string) (Config, error) {
	cfg := Default()
	err := configfile.Read(path, &cfg)
	return cfg, err
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

// Validate joins all problems.
func (c *Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %q: write host:port or :port", c.Listen))
	}
	for i, name := range c.Names {
		if !hostName.MatchString(name) {
			errs = append(errs, fmt.Errorf("names[%d]: %q is no host name", i, name))
		}
	}
	for i, ip := range c.IPs {
		if !ip.IsValid() || ip.IsUnspecified() || ip.Zone() != "" {
			errs = append(errs, fmt.Errorf("ips[%d]: %q is no address that others can reach", i, ip))
		}
	}
	for i, endpoint := range c.Advertise {
		if host, port, err := net.SplitHostPort(endpoint); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("advertise[%d]: %q: write host:port", i, endpoint))
		}
	}
	if host, port, err := net.SplitHostPort(c.Address); c.Address != "" && (err != nil || host == "" || port == "") {
		errs = append(errs, fmt.Errorf("address: %q: write host:port", c.Address))
	}
	if !filepath.IsAbs(c.StateDir) {
		errs = append(errs, fmt.Errorf("stateDir: %q must be an absolute path", c.StateDir))
	}
	if c.Etcd.Embedded != nil && c.Etcd.External != nil {
		errs = append(errs, errors.New("etcd: set only one of etcd.embedded and etcd.external"))
	} else if filepath.IsAbs(c.StateDir) {
		errs = append(errs, c.store().Validate())
	}
	errs = append(errs, c.Repository.validate())
	if c.Etcd.External != nil && c.Repository.Follow == nil {
		errs = append(errs, errors.New("repository: a hosted one is on this machine only, so there can be one controller: use etcd.embedded, or repository.follow"))
	}
	return errors.Join(errs...)
}

func (r *RepositoryConfig) validate() error {
	switch f := r.Follow; {
	case f == nil:
		return nil
	case r.Hosted != nil:
		return errors.New("repository: set only one of repository.hosted and repository.follow")
	case f.URL == "":
		return errors.New("repository.follow.url: required")
	case f.PollInterval != 0 && f.PollInterval < time.Second:
		return fmt.Errorf("repository.follow.pollInterval: %s is less than 1s", f.PollInterval)
	case f.WebhookSecretFile != "" && !filepath.IsAbs(f.WebhookSecretFile):
		return fmt.Errorf("repository.follow.webhookSecretFile: %q must be an absolute path", f.WebhookSecretFile)
	}
	return nil
}

// store is the configuration of the store.
func (c *Config) store() store.Config {
	if e := c.Etcd.External; e != nil {
		return store.Config{Lease: e.Lease, External: &store.External{
			Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile,
			Username: e.Username, PasswordFile: e.PasswordFile, Prefix: e.Prefix,
		}}
	}
	out := store.Config{Embedded: &store.Embedded{Dir: filepath.Join(c.StateDir, "store")}}
	if e := c.Etcd.Embedded; e != nil {
		out.Embedded.QuotaBytes = e.QuotaBytes
	}
	return out
}

func (c *Config) authorityFiles() (cert, key string) {
	dir := c.authorityDir()
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
}

func (c *Config) authorityDir() string { return filepath.Join(c.StateDir, "authority") }
