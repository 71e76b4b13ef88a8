package store

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

const (
	// DefaultPrefix is where all keys are, the schema's included.
	DefaultPrefix = "/ktrdr/"
	// defaultQuota is what etcd itself takes when nothing is configured.
	defaultQuota = 2 << 30
	// defaultLease is how long a controller that died stays registered, and how long
	// an outage of etcd may last before a leader gives up.
	defaultLease = 10 * time.Second
	minLease     = 2 * time.Second
)

// Config says where the memory is: exactly one of Embedded and External.
type Config struct {
	Embedded *Embedded
	External *External
	// Logger gets warnings of etcd itself and changes of sessions; nil logs nothing.
	Logger *slog.Logger
	// Lease is how long registrations and leadership outlive a controller that died;
	// 0 = 10 s, at least 2 s, whole seconds (etcd counts in them).
	Lease time.Duration
}

// Embedded runs etcd in this process, as a cluster of one, with no listener: it can't be
// reached but through this Store.
type Embedded struct {
	// Dir holds the data base and its log, about 130 MB when empty (etcd allocates its log
	// in advance). It is made with mode 0700; one process at a time may have it open.
	Dir string
	// QuotaBytes is where writes are refused with ErrFull; 0 = 2 GiB.
	QuotaBytes int64
}

// External is a cluster that somebody else runs.
type External struct {
	// Endpoints are URLs of members: https://host:2379, unix:///path, or http:// for
	// loopback addresses only.
	Endpoints []string
	// CAFile verifies the servers; "" = the system's authorities. CertFile and KeyFile are
	// the client's certificate, read anew at each handshake.
	CAFile, CertFile, KeyFile string
	// Username and PasswordFile are for etcd's own authentication; "" = none. The file may
	// be readable by its owner and group only.
	Username, PasswordFile string
	// Prefix of all keys, for clusters that others use too; "" = /ktrdr/.
	Prefix string
}

// Validate joins all problems.
func (c Config) Validate() error {
	var problems []error
	if (c.Embedded == nil) == (c.External == nil) {
		problems = append(problems, errors.New("store: give exactly one of embedded and external"))
	}
	if c.Lease != 0 && (c.Lease < minLease || c.Lease%time.Second != 0) {
		problems = append(problems, fmt.Errorf("store.lease: %s: give whole seconds, at least %s", c.Lease, minLease))
	}
	if c.Embedded != nil {
		problems = append(problems, c.Embedded.validate())
	}
	if c.External != nil {
		problems = append(problems, c.External.validate())
	}
	return errors.Join(problems...)
}

func (e *Embedded) validate() error {
	var problems []error
	if !filepath.IsAbs(e.Dir) {
		problems = append(problems, fmt.Errorf("store.embedded.dir: %q: give an absolute path", e.Dir))
	}
	if e.QuotaBytes < 0 {
		problems = append(problems, fmt.Errorf("store.embedded.quotaBytes: %d: give a positive number, or 0 for %d", e.QuotaBytes, int64(defaultQuota)))
	}
	return errors.Join(problems...)
}

func (e *External) validate() error {
	var problems []error
	if len(e.Endpoints) == 0 {
		problems = append(problems, errors.New("store.external.endpoints: give the URL of at least one member"))
	}
	for i, endpoint := range e.Endpoints {
		if err := validateEndpoint(endpoint); err != nil {
			problems = append(problems, fmt.Errorf("store.external.endpoints[%d]: %w", i, err))
		}
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		problems = append(problems, errors.New("store.external: certFile and keyFile belong together"))
	}
	if (e.Username == "") != (e.PasswordFile == "") {
		problems = append(problems, errors.New("store.external: username and passwordFile belong together"))
	}
	if e.Prefix != "" && (!strings.HasPrefix(e.Prefix, "/") || !strings.HasSuffix(e.Prefix, "/") || e.Prefix == "/") {
		problems = append(problems, fmt.Errorf("store.external.prefix: %q: begin and end it with a slash, as %s", e.Prefix, DefaultPrefix))
	}
	return errors.Join(problems...)
}

func validateEndpoint(endpoint string) error {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("%q is no URL", endpoint)
	}
	switch parsed.Scheme {
	case "https", "unix":
		return nil
	case "http":
		if ip := net.ParseIP(parsed.Hostname()); parsed.Hostname() == "localhost" || ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("%s: use https, everything is in the clear otherwise", endpoint)
	default:
		return fmt.Errorf("%q: give https://host:port", endpoint)
	}
}

func (e *External) prefix() string {
	if e.Prefix == "" {
		return DefaultPrefix
	}
	return e.Prefix
}
