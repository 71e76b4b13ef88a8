package sim_test

import (
	"strings"
	"sync"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// vault is the provider and the agent's own store of values in one: what the agent has at
// hand is lost with it.
type vault struct {
	mu     sync.Mutex
	value  string // of every reference; empty while the provider is down
	atHand string
	// earlier are replaced values that are still at hand.
	earlier map[string]bool
}

// boot is a new agent, which asks the provider.
func (v *vault) boot() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.atHand, v.earlier = v.value, map[string]bool{}
}

// set changes what the provider has; an agent that runs learns it, and keeps what it has
// when the provider goes down.
func (v *vault) set(value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
	if value != "" && value != v.atHand {
		v.earlier[v.atHand] = true
		delete(v.earlier, value)
		v.atHand = value
	}
}

// OpenAs: the digest of a value is the value, so that tests can read it.
func (v *vault) OpenAs(_, digest string) (secrets.Value, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	text, ok := strings.CutPrefix(digest, "v1:")
	return secrets.NewValue(text), ok && text != "" && (text == v.atHand || v.earlier[text])
}

func (*vault) DigestOf(_, text string) string { return "v1:" + text }

func (v *vault) Restore(_, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if text != v.atHand {
		v.earlier[text] = true
	}
}

func (v *vault) Earlier() map[string]bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	digests := map[string]bool{}
	for text := range v.earlier {
		digests["v1:"+text] = true
	}
	return digests
}

func (v *vault) Open(string) (secrets.Value, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return secrets.NewValue(v.atHand), v.atHand != ""
}

func (v *vault) Digests() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.atHand == "" {
		return nil
	}
	return map[string]string{secretRef: "v1:" + v.atHand}
}

func (*vault) Redact(text string) string { return text }

func (*vault) Refused(*api.Stack) map[string]string { return nil }
