package api

import "time"

// ProviderState tells how one provider of secrets is doing. It holds no value and no token.
type ProviderState struct {
	// Name is "connect", "dotenv" or "keyvault".
	Name string `json:"name"`
	// Schemes of the references that it resolves: "op", "akv".
	Schemes []string `json:"schemes"`
	// Reachable tells whether the last attempt got an answer that could be used; false
	// before the first one. A reference that was not found is such an answer.
	Reachable bool `json:"reachable"`
	// LastAttempt and LastSuccess are zero when there was none since the agent started.
	LastAttempt time.Time `json:"lastAttempt,omitzero"`
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	// Reason and Message say why it is not reachable; empty when it is.
	Reason  Reason `json:"reason,omitzero"`
	Message string `json:"message,omitzero"`
	// Requests that were sent over the network since the agent started, and those of them
	// that got no usable answer.
	Requests       uint64 `json:"requests"`
	FailedRequests uint64 `json:"failedRequests"`
	// Token is nil when the provider uses none, or it was not read yet.
	Token *TokenState `json:"token,omitzero"`
}

// TokenState is what a token says about itself. It is not verified: only the provider can.
type TokenState struct {
	// Expires is zero for a token that never does.
	Expires time.Time `json:"expires,omitzero"`
	// Vaults that it may read.
	Vaults []VaultScope `json:"vaults,omitzero"`
}

// VaultScope is one vault that a token may read.
type VaultScope struct {
	ID string `json:"id"`
	// Name is empty while it is not known.
	Name string `json:"name,omitzero"`
}

// tokenWarning is how long before its end a token is worth a condition.
const tokenWarning = 14 * 24 * time.Hour

// DaysLeft are the whole days until a token expires, negative after that; ok is false for
// one that never does.
func (t *TokenState) DaysLeft(now time.Time) (days int, ok bool) {
	if t == nil || t.Expires.IsZero() {
		return 0, false
	}
	left := t.Expires.Sub(now)
	if left < 0 {
		left -= 24*time.Hour - 1
	}
	return int(left / (24 * time.Hour)), true
}

// ExpiresSoon tells whether a person should renew the token now.
func (t *TokenState) ExpiresSoon(now time.Time) bool {
	return t != nil && !t.Expires.IsZero() && t.Expires.Sub(now) < tokenWarning
}
