package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/connect"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/keyvault"
	"ktrdr.io/fleet/pkg/api"
)

// SecretsConfig names the providers of secret values, one for each scheme of references.
type SecretsConfig struct {
	// Connect serves op:// references.
	Connect *ConnectConfig `yaml:"connect"`
	// KeyVault serves akv:// references.
	KeyVault *KeyVaultConfig `yaml:"keyVault"`
	// Dotenv serves the references that no other provider serves.
	Dotenv *DotenvConfig `yaml:"dotenv"`
	// Refresh is the time between looks for changed values, give or take a tenth. Default 1m.
	Refresh time.Duration `yaml:"refresh"`
}

// ConnectConfig names a 1Password Connect server. The access token is in exactly one of
// three places; it can't be written into this file.
type ConnectConfig struct {
	// URL without the /v1, as https://connect.example.org:8443. Required.
	URL string `yaml:"url"`
	// CAFile adds certificates that the server may show.
	CAFile string `yaml:"caFile"`
	// AllowHTTP accepts http to other hosts than this one. Default false.
	AllowHTTP bool `yaml:"allowHTTP"`
	// TokenFile holds the token; only its owner may read it. Read at every look.
	TokenFile string `yaml:"tokenFile"`
	// TokenCredential is the name of a systemd credential (LoadCredential=). Read at every look.
	TokenCredential string `yaml:"tokenCredential"`
	// TokenEnv is the name of an environment variable. Read once, at the start.
	TokenEnv string `yaml:"tokenEnv"`
}

// KeyVaultConfig says as whom the agent reads from Azure Key Vault; references name the vaults.
type KeyVaultConfig struct {
	// Auth is managedIdentity (default) or environment (AZURE_TENANT_ID, AZURE_CLIENT_ID
	// and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH).
	Auth string `yaml:"auth"`
	// ClientID of a user-assigned managed identity. Default: the machine's own.
	ClientID string `yaml:"clientID"`
	// Domain of the vaults. Default vault.azure.net.
	Domain string `yaml:"domain"`
}

// DotenvConfig reads values from a file, for laptops and demonstrations.
type DotenvConfig struct {
	// File must be readable by its owner only.
	File string `yaml:"file"`
}

// validate joins all problems.
func (s *SecretsConfig) validate() error {
	var errs []error
	if s.Refresh < time.Second {
		errs = append(errs, fmt.Errorf("secrets.refresh: %s is less than 1s", s.Refresh))
	}
	if s.Dotenv != nil && !filepath.IsAbs(s.Dotenv.File) {
		errs = append(errs, fmt.Errorf("secrets.dotenv.file: %q must be an absolute path", s.Dotenv.File))
	}
	if s.Connect != nil {
		errs = append(errs, below("secrets.connect.", s.Connect.config("").Validate())...)
	}
	if s.KeyVault != nil {
		errs = append(errs, below("secrets.keyVault.", s.KeyVault.config().Validate())...)
	}
	if s.Connect != nil && s.KeyVault != nil && s.Dotenv != nil {
		errs = append(errs, errors.New("secrets.dotenv: has nothing to serve beside secrets.connect and secrets.keyVault; remove it"))
	}
	return errors.Join(errs...)
}

// below puts a prefix before each of joined problems.
func below(prefix string, err error) []error {
	if err == nil {
		return nil
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the problems themselves, not what they wrap
		list = joined.Unwrap()
	}
	for i := range list {
		list[i] = fmt.Errorf("%s%w", prefix, list[i])
	}
	return list
}

func (c *ConnectConfig) config(node string) *connect.Config {
	return &connect.Config{
		URL: c.URL, CAFile: c.CAFile, AllowHTTP: c.AllowHTTP, Node: node,
		Token: connect.TokenConfig{File: c.TokenFile, Credential: c.TokenCredential, Env: c.TokenEnv},
	}
}

func (k *KeyVaultConfig) config() *keyvault.Config {
	return &keyvault.Config{Auth: k.Auth, ClientID: k.ClientID, Domain: k.Domain}
}

// open makes the providers for a node. Nothing is asked of them yet.
func (s *SecretsConfig) open(node string) (*secrets.Router, error) {
	router := secrets.NewRouter()
	rest := []string{api.SchemeOnePassword, api.SchemeAzure}
	serve := func(scheme string, p secrets.Provider) {
		router.Add(p, scheme)
		rest = slices.DeleteFunc(rest, func(other string) bool { return other == scheme })
	}
	if s.Connect != nil {
		p, err := connect.New(s.Connect.config(node))
		if err != nil {
			return nil, errors.Join(below("secrets.connect.", err)...)
		}
		serve(api.SchemeOnePassword, p)
	}
	if s.KeyVault != nil {
		p, err := keyvault.New(s.KeyVault.config())
		if err != nil {
			return nil, errors.Join(below("secrets.keyVault.", err)...)
		}
		serve(api.SchemeAzure, p)
	}
	if s.Dotenv != nil {
		router.Add(secrets.NewDotenv(s.Dotenv.File), rest...)
	}
	return router, nil
}
