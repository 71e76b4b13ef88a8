package keyvault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// parallel is how many secrets are read at once.
const parallel = 4

// Provider resolves akv:// references. Its state sits behind a func, so that printers that
// follow pointers don't reach tokens in buffers of connections.
type Provider struct {
	state func() *resolver
}

type resolver struct {
	cfg        Config
	credential azcore.TokenCredential
	transport  *transport

	mu      sync.Mutex
	clients map[string]*azsecrets.Client // by vault, lower case
}

var (
	_ secrets.Provider  = (*Provider)(nil)
	_ secrets.Accounted = (*Provider)(nil)
)

// New makes a provider. It sends nothing yet.
func New(cfg *Config) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &resolver{cfg: *cfg, transport: &transport{next: cfg.Transport}, clients: map[string]*azsecrets.Client{}}
	if r.cfg.Domain == "" {
		r.cfg.Domain = "vault.azure.net"
	}
	if r.transport.next == nil {
		r.transport.next = newHTTP()
	}
	credential, err := cfg.credential(&transport{next: r.transport.next})
	if err != nil {
		return nil, err
	}
	r.credential = tokens{credential}
	return &Provider{state: func() *resolver { return r }}, nil
}

// Name implements secrets.Provider.
func (*Provider) Name() string { return "keyvault" }

// Requests implements secrets.Accounted: those to vaults.
func (p *Provider) Requests() (sent, failed uint64) {
	t := p.state().transport
	failed = t.failed.Load() // before sent, so that it is never more
	return t.sent.Load(), failed
}

// Token implements secrets.Accounted: Azure's tokens last an hour and are renewed by themselves.
func (*Provider) Token() *api.TokenState { return nil }

// secret is one thing to read, however many references name it.
type secret struct{ vault, name, version string }

// Resolve implements secrets.Provider.
func (p *Provider) Resolve(ctx context.Context, refs []string) (map[string]secrets.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	results := make(map[string]secrets.Result, len(refs))
	bySecret := map[secret][]string{}
	for _, text := range refs {
		ref, err := api.ParseReference(text)
		if err == nil && ref.Scheme != api.SchemeAzure {
			err = errors.New("Azure Key Vault resolves akv:// references only") //nolint:staticcheck // a name
		}
		if err != nil {
			results[text] = secrets.Invalid(err)
			continue
		}
		s := secret{strings.ToLower(ref.Vault), strings.ToLower(ref.Secret), strings.ToLower(ref.Version)}
		bySecret[s] = append(bySecret[s], text)
	}
	down := p.state().read(ctx, bySecret, results)
	if ctx.Err() != nil {
		return results, ctx.Err()
	}
	if down != nil && len(bySecret) == down.count {
		return results, down.err
	}
	return results, nil
}

// outage is a failure that is not about single secrets.
type outage struct {
	err   error
	count int
}

// read puts the answers into results, and tells how many secrets were not to be had.
func (r *resolver) read(ctx context.Context, bySecret map[secret][]string, results map[string]secrets.Result) *outage {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(parallel)
	down := &outage{}
	order := slices.SortedFunc(maps.Keys(bySecret), func(a, b secret) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, s := range order {
		group.Go(func() error {
			value, version, failed := r.get(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil && failed.Reason != api.ReasonSecretMissing {
				down.err = failed
				down.count++
			}
			for _, ref := range bySecret[s] {
				if failed == nil {
					results[ref] = secrets.Result{Value: value, Version: version}
					continue
				}
				own := *failed
				own.Ref = ref
				results[ref] = secrets.Result{Err: &own}
			}
			return nil
		})
	}
	_ = group.Wait() // failures are in the results
	if down.count == 0 {
		return nil
	}
	return down
}

// get reads one secret.
func (r *resolver) get(ctx context.Context, s secret) (secrets.Value, string, *secrets.Error) {
	client, err := r.client(s.vault)
	if err != nil {
		return secrets.Value{}, "", r.failure(ctx, s, err)
	}
	// Each try has its own limit; this one is for what the SDK waits beyond that.
	ctx, cancel := context.WithTimeout(ctx, 3*orDefault(r.cfg.Timeout, defaultTimeout))
	defer cancel()
	answer, err := client.GetSecret(ctx, s.name, s.version, nil)
	switch {
	case err != nil:
		return secrets.Value{}, "", r.failure(ctx, s, err)
	case answer.ID == nil || !strings.EqualFold(answer.ID.Name(), s.name):
		return secrets.Value{}, "", r.failure(ctx, s, errWrongAnswer)
	case answer.Value == nil || *answer.Value == "":
		return secrets.Value{}, "", missing(secrets.ErrEmpty)
	}
	return secrets.NewValue(*answer.Value), answer.ID.Version(), nil
}

// client of a vault. Each learns by a challenge of its own whom to get a token from.
func (r *resolver) client(vault string) (*azsecrets.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[vault]; c != nil {
		return c, nil
	}
	c, err := azsecrets.NewClient("https://"+vault+"."+r.cfg.Domain, r.credential, &azsecrets.ClientOptions{ClientOptions: r.cfg.options(r.transport)})
	if err == nil {
		r.clients[vault] = c
	}
	return c, err
}
