package backend

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"
	"unicode/utf8"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/environ"
)

// minSecret is the least number of characters of the JWT secret.
const minSecret = 32

// Config is what the backend reads from its environment.
type Config struct {
	// Host is the address to bind; empty means all.
	Host string
	// Port to listen on; default 8000.
	Port string
	// DatabaseAddr is host:port of the database; the host is required, the port defaults to 5432.
	DatabaseAddr string
	// DialDatabase makes the start fail when the database does not accept the login (KTRDRSIM_DB_DIAL=1).
	DialDatabase bool
	// DatabaseUser and DatabasePassword are that login.
	DatabaseUser, DatabasePassword string
	// HealthInterval is the pause between two rounds over all workers; default 10 s (KTRDRSIM_HEALTH_INTERVAL).
	HealthInterval time.Duration
	// StartDelay is how long the health endpoint answers 503 after the start (KTRDRSIM_START_DELAY).
	StartDelay time.Duration
	// Unhealthy makes the health endpoint answer 503 for ever (KTRDRSIM_UNHEALTHY=1): a broken release.
	Unhealthy bool
	// Version is shown by the health endpoint (KTRDRSIM_VERSION).
	Version string
}

// FromEnv reads the configuration with lookup (os.Getenv in production) and reports all problems at once, by variable
// name and never by value.
func FromEnv(lookup environ.Lookup) (Config, error) {
	cfg := Config{
		Host:             lookup.First("KTRDR_API_HOST", "API_HOST"),
		Port:             cmp.Or(lookup.First("KTRDR_API_PORT", "API_PORT"), "8000"),
		DialDatabase:     lookup("KTRDRSIM_DB_DIAL") == "1",
		DatabaseUser:     lookup.First("KTRDR_DB_USER", "DB_USER"),
		DatabasePassword: lookup.First("KTRDR_DB_PASSWORD", "DB_PASSWORD"),
		Unhealthy:        lookup("KTRDRSIM_UNHEALTHY") == "1",
		Version:          cmp.Or(lookup("KTRDRSIM_VERSION"), "dev"),
	}
	var problems []error
	if host := lookup.First("KTRDR_DB_HOST", "DB_HOST"); host == "" {
		problems = append(problems, errors.New("KTRDR_DB_HOST (or DB_HOST) is not set"))
	} else {
		cfg.DatabaseAddr = net.JoinHostPort(host, cmp.Or(lookup.First("KTRDR_DB_PORT", "DB_PORT"), "5432"))
	}
	if n := utf8.RuneCountInString(lookup.First("KTRDR_AUTH_JWT_SECRET", "JWT_SECRET")); n < minSecret {
		problems = append(problems, fmt.Errorf("KTRDR_AUTH_JWT_SECRET (or JWT_SECRET) has %d characters, want at least %d", n, minSecret))
	}
	problems = append(problems, environ.Port("KTRDR_API_PORT", cfg.Port))
	var err error
	cfg.HealthInterval, err = lookup.Duration("KTRDRSIM_HEALTH_INTERVAL", 10*time.Second)
	problems = append(problems, err)
	cfg.StartDelay, err = lookup.Duration("KTRDRSIM_START_DELAY", 0)
	return cfg, errors.Join(append(problems, err)...)
}
