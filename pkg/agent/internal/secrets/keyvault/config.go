package keyvault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azlog "github.com/Azure/azure-sdk-for-go/sdk/azcore/log"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Ways to authenticate.
const (
	// ManagedIdentity is that of the virtual machine or of Azure Arc: nothing to keep secret.
	ManagedIdentity = "managedIdentity"
	// Environment takes AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or
	// AZURE_CLIENT_CERTIFICATE_PATH. The secret is taken out of the environment.
	Environment = "environment"
)

// Config of a Provider.
type Config struct {
	// Auth is ManagedIdentity (default) or Environment.
	Auth string
	// ClientID of a user-assigned managed identity; empty for the machine's own.
	ClientID string
	// Domain of the vaults. Default vault.azure.net; the national clouds have others.
	Domain string
	// Timeout of one request, its authentication included. 0 means 25 s.
	Timeout time.Duration
	// Retry is the pause before a request is tried again; it doubles each time. 0 means 500 ms.
	Retry time.Duration
	// Credential and Transport are for tests; nil means those of Azure.
	Credential azcore.TokenCredential
	Transport  policy.Transporter
}

var (
	domainName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	identityID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// Validate joins all problems; each begins with the name of its key in agent.yaml.
func (c *Config) Validate() error {
	var errs []error
	if c.Auth != "" && c.Auth != ManagedIdentity && c.Auth != Environment {
		errs = append(errs, fmt.Errorf("auth: write %s or %s", ManagedIdentity, Environment)) // the text may be a secret
	}
	if c.ClientID != "" && !identityID.MatchString(c.ClientID) {
		errs = append(errs, errors.New("clientID: must be the client id of a managed identity, as 00000000-0000-0000-0000-000000000000"))
	}
	if c.ClientID != "" && c.Auth == Environment {
		errs = append(errs, errors.New("clientID: is for managed identities; with auth: environment, set AZURE_CLIENT_ID"))
	}
	if c.Domain != "" && !domainName.MatchString(c.Domain) {
		errs = append(errs, fmt.Errorf("domain: %q is no domain name, as vault.azure.net", c.Domain))
	}
	return errors.Join(errs...)
}

// options are those of Azure's clients.
func (c *Config) options(transport policy.Transporter) azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: transport,
		Telemetry: policy.TelemetryOptions{ApplicationID: "ktrdr-agent"},
		Retry: policy.RetryOptions{
			MaxRetries: 2, TryTimeout: orDefault(c.Timeout, defaultTimeout),
			RetryDelay: orDefault(c.Retry, 500*time.Millisecond), MaxRetryDelay: 5 * time.Second,
		},
	}
}

// credential makes what tokens come from. Errors of azidentity at this point are about
// names of variables and files.
func (c *Config) credential(transport policy.Transporter) (azcore.TokenCredential, error) {
	azlog.SetListener(nil) // AZURE_SDK_GO_LOGGING would write requests to standard error
	if c.Credential != nil {
		return c.Credential, nil
	}
	options := c.options(transport)
	if c.Auth == Environment {
		cred, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: options})
		if err != nil {
			return nil, errors.New("auth: the environment lacks AZURE_TENANT_ID, AZURE_CLIENT_ID, or a usable AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH")
		}
		for _, name := range []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD"} {
			_ = os.Unsetenv(name) // child processes don't inherit it
		}
		return cred, nil
	}
	identity := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if c.ClientID != "" {
		identity.ID = azidentity.ClientID(c.ClientID)
	}
	cred, err := azidentity.NewManagedIdentityCredential(identity)
	if err != nil {
		return nil, errors.New("clientID: this platform's managed identities have none to choose")
	}
	return cred, nil
}

// errNoToken marks failures of getting a token, of which Azure has several kinds.
var errNoToken = errors.New("no token")

// tokens marks the failures of a credential.
type tokens struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (t tokens) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := t.TokenCredential.GetToken(ctx, options)
	if err != nil {
		return token, fmt.Errorf("%w: %w", errNoToken, err)
	}
	return token, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
