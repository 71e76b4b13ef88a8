package connect

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/1Password/connect-sdk-go/onepassword"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// parallel is how many items are read at once.
const parallel = 4

// Provider resolves op:// references. It remembers the answers to the references that it
// was last asked for, and no other field of their items.
//
// Its state sits behind a func, as the text of a secrets.Value does: printers and
// encoders that follow pointers would else reach buffers of connections, token included.
type Provider struct {
	state func() *resolver
}

// resolver is the state of a Provider.
type resolver struct {
	client  *client
	recheck time.Duration

	// turn holds the right to resolve: calls come one after another.
	turn chan struct{}
	// known is what was read of each vault, by id. Only who has the turn may touch it.
	known map[string]*vaultMemory

	mu    sync.Mutex
	names map[string]string // of vaults, by id
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
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	r := &resolver{
		client: c, recheck: orDefault(cfg.Recheck, 15*time.Minute), turn: make(chan struct{}, 1), known: map[string]*vaultMemory{},
	}
	return &Provider{state: func() *resolver { return r }}, nil
}

// Name implements secrets.Provider.
func (*Provider) Name() string { return "connect" }

// Requests implements secrets.Accounted.
func (p *Provider) Requests() (sent, failed uint64) {
	c := p.state().client
	failed = c.failed.Load() // before sent, so that it is never more
	return c.sent.Load(), failed
}

// Token implements secrets.Accounted. Names of vaults are known once they were listed.
func (p *Provider) Token() *api.TokenState {
	r := p.state()
	state := r.client.tokens.told()
	if state == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range state.Vaults {
		state.Vaults[i].Name = r.names[state.Vaults[i].ID]
	}
	return state
}

// Resolve implements secrets.Provider. A vault that can't be read fails its own references.
func (p *Provider) Resolve(ctx context.Context, refs []string) (map[string]secrets.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	results := make(map[string]secrets.Result, len(refs))
	var wants []want
	for _, text := range refs {
		ref, err := api.ParseReference(text)
		if err == nil && ref.Scheme != api.SchemeOnePassword {
			err = errors.New("1Password Connect resolves op:// references only")
		}
		if err != nil {
			results[text] = secrets.Invalid(err)
			continue
		}
		wants = append(wants, want{text, ref})
	}
	if len(wants) == 0 {
		return results, nil
	}
	r := p.state()
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.turn }()
	return results, r.resolve(ctx, wants, results)
}

// want is one reference to resolve.
type want struct {
	text string
	ref  api.SecretReference
}

// oneTime tells whether the answer changes by itself.
func (w *want) oneTime() bool { return w.ref.Attribute == "otp" }

// resolve puts the answers into results.
func (p *resolver) resolve(ctx context.Context, wants []want, results map[string]secrets.Result) error {
	vaults, err := p.vaults(ctx)
	if err != nil {
		return err
	}
	forget(p.known, wants)
	byVault := map[*onepassword.Vault][]want{}
	for _, w := range wants {
		v, failed := findVault(vaults, w.ref.Vault)
		if failed != nil {
			results[w.text] = missing(w, failed)
			continue
		}
		byVault[v] = append(byVault[v], w)
	}
	for v, part := range byVault {
		answers := p.resolveVault(ctx, v, part)
		for _, w := range part {
			results[w.text] = answers[w.text]
		}
	}
	return ctx.Err()
}

var uuid = regexp.MustCompile(`^[0-9a-z]{26}$`)

// vaults lists what the token may read, and forgets vaults that it no longer may.
func (p *resolver) vaults(ctx context.Context) ([]onepassword.Vault, error) {
	vaults, err := p.client.vaults(ctx)
	if err != nil {
		return nil, outcome(ctx, err)
	}
	names := map[string]string{}
	for i := range vaults {
		if !uuid.MatchString(vaults[i].ID) {
			return nil, newFault(p.client, wrongContent, 0).err
		}
		names[vaults[i].ID] = vaults[i].Name
	}
	for id := range p.known {
		if _, there := names[id]; !there {
			delete(p.known, id)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names = names
	return vaults, nil
}

// outcome is the error of a whole: that of ctx when it ended, else the fault's *secrets.Error.
func outcome(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f, ok := errors.AsType[*fault](err); ok {
		return f.err
	}
	return err
}

// missing is the result of a reference that only a person, or a change at the server, can mend.
func missing(w want, err error) secrets.Result {
	return secrets.Result{Err: &secrets.Error{Ref: w.text, Class: api.Waiting, Reason: api.ReasonSecretMissing, Err: err}}
}

// fail gives the failure of a request to the references that it concerns.
func fail(ctx context.Context, wants []want, err error) map[string]secrets.Result {
	results := make(map[string]secrets.Result, len(wants))
	for _, w := range wants {
		if absent, ok := errors.AsType[*refError](err); ok {
			results[w.text] = missing(w, absent)
			continue
		}
		failed := &secrets.Error{Ref: w.text, Class: api.Transient, Reason: api.ReasonProviderDown, Err: outcome(ctx, err)}
		if cause, ok := errors.AsType[*secrets.Error](failed.Err); ok {
			failed.Class, failed.Reason, failed.Err = cause.Class, cause.Reason, cause.Err
		}
		results[w.text] = secrets.Result{Err: failed}
	}
	return results
}
