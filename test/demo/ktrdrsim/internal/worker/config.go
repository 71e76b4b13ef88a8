package worker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/environ"
)

// Config is what a worker reads from its command line and environment.
type Config struct {
	// ID is KTRDR_WORKER_ID, or type and random digits: a worker without it is a new one after each start.
	ID string
	// Type comes from the command line, else from KTRDR_WORKER_TYPE.
	Type contract.WorkerType
	// Host is the address to bind; empty means all.
	Host string
	// Port to listen on, from the command line, else from KTRDR_WORKER_PORT.
	Port string
	// PublicURL is where the backend reaches this worker; required, never detected.
	PublicURL string
	// BackendURL is the backend without /api/v1; required.
	BackendURL string
	// CheckpointDir is where training saves its state; empty means that it can't.
	CheckpointDir string
	// GPU is registered as a capability (KTRDR_WORKER_HAS_GPU=true).
	GPU bool
	// ReregisterAfter is how long no GET /health may come before the registration is checked; default 30 s
	// (KTRDRSIM_REREGISTER_AFTER).
	ReregisterAfter time.Duration
	// SaveTime is how long a checkpoint takes; default 0 (KTRDRSIM_SAVE_TIME).
	SaveTime time.Duration
	// IgnoreTerm makes the worker run on after SIGTERM until it is killed (KTRDRSIM_IGNORE_SIGTERM=1).
	IgnoreTerm bool
}

// Flags are the values of the command line; empty ones leave the choice to the environment.
type Flags struct{ Type, Host, Port string }

// FromEnv reads the configuration with lookup (os.Getenv in production) and reports all problems at once, by variable
// name.
func FromEnv(flags Flags, lookup environ.Lookup) (Config, error) {
	cfg := Config{
		ID:            lookup("KTRDR_WORKER_ID"),
		Host:          flags.Host,
		Port:          flags.Port,
		PublicURL:     strings.TrimSuffix(lookup.First("KTRDR_WORKER_PUBLIC_BASE_URL", "WORKER_PUBLIC_BASE_URL"), "/"),
		BackendURL:    backendURL(lookup.First("KTRDR_API_CLIENT_BASE_URL", "KTRDR_API_URL")),
		CheckpointDir: lookup("KTRDR_CHECKPOINT_DIR"),
		GPU:           lookup("KTRDR_WORKER_HAS_GPU") == "true",
		IgnoreTerm:    lookup("KTRDRSIM_IGNORE_SIGTERM") == "1",
	}
	if cfg.Port == "" {
		cfg.Port = lookup.First("KTRDR_WORKER_PORT", "WORKER_PORT")
	}
	if mount := lookup.First("KTRDR_DATA_SHARED_MOUNT_PATH", "SHARED_MOUNT_PATH"); cfg.CheckpointDir == "" && mount != "" {
		cfg.CheckpointDir = filepath.Join(mount, "checkpoints")
	}
	if flags.Type == "" {
		flags.Type = lookup.First("KTRDR_WORKER_TYPE", "WORKER_TYPE")
	}
	var typeErr, reErr, saveErr error
	cfg.Type, typeErr = contract.ParseWorkerType(flags.Type)
	cfg.ReregisterAfter, reErr = lookup.Duration("KTRDRSIM_REREGISTER_AFTER", 30*time.Second)
	cfg.SaveTime, saveErr = lookup.Duration("KTRDRSIM_SAVE_TIME", 0)
	if cfg.ID == "" {
		cfg.ID = fmt.Sprintf("%s-worker-%s", cfg.Type, randomDigits())
	}
	return cfg, errors.Join(typeErr, reErr, saveErr, cfg.validate())
}

func (c Config) validate() error {
	var problems []error
	if !contract.ValidID(c.ID) {
		problems = append(problems, errors.New("KTRDR_WORKER_ID is not a valid id"))
	}
	problems = append(problems, environ.Port("KTRDR_WORKER_PORT (or WORKER_PORT)", c.Port))
	const publicNames = "KTRDR_WORKER_PUBLIC_BASE_URL (or WORKER_PUBLIC_BASE_URL)"
	if c.PublicURL == "" {
		problems = append(problems, errors.New(publicNames+" is not set; it is never detected"))
	} else if err := contract.ValidateBaseURL(publicNames, c.PublicURL); err != nil {
		problems = append(problems, err)
	}
	const backendNames = "KTRDR_API_CLIENT_BASE_URL (or KTRDR_API_URL)"
	if c.BackendURL == "" {
		problems = append(problems, errors.New(backendNames+" is not set"))
	} else if err := contract.ValidateBaseURL(backendNames, c.BackendURL); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// backendURL drops the /api/v1 that some of the user's variables end with and others don't.
func backendURL(raw string) string {
	return strings.TrimSuffix(strings.TrimSuffix(raw, "/"), "/api/v1")
}

func randomDigits() string {
	raw := make([]byte, 4)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(raw)
	return hex.EncodeToString(raw)
}
