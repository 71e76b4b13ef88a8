package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// SecretsConfig names the providers of secret values.
type SecretsConfig struct {
	// Dotenv serves the references that no other provider serves.
	Dotenv *DotenvConfig `yaml:"dotenv"`
	// Refresh is the time between looks for changed values. Default 1m.
	Refresh time.Duration `yaml:"refresh"`
}

// DotenvConfig reads values from a file, for laptops and demonstrations.
type DotenvConfig struct {
	// File must be readable by its owner only.
	File string `yaml:"file"`
}

func (s *SecretsConfig) validate() error {
	var errs []error
	if s.Refresh < time.Second {
		errs = append(errs, fmt.Errorf("secrets.refresh: %s is less than 1s", s.Refresh))
	}
	if s.Dotenv != nil && !filepath.IsAbs(s.Dotenv.File) {
		errs = append(errs, fmt.Errorf("secrets.dotenv.file: %q must be an absolute path", s.Dotenv.File))
	}
	return errors.Join(errs...)
}

// open makes the providers. Nothing is asked of them yet.
func (s *SecretsConfig) open() *secrets.Router {
	router := secrets.NewRouter()
	if s.Dotenv != nil {
		router.Add(secrets.NewDotenv(s.Dotenv.File), api.SchemeOnePassword, api.SchemeAzure)
	}
	return router
}
