package agent

import (
	"fmt"
	"math/rand/v2"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Keys of the node's conditions about secrets.
const (
	conditionSecrets = "secrets"
	conditionToken   = "secrets-token"
)

// secretsLooked takes the result of a look at the providers for refs over into the node's
// conditions, and remembers which generations there are by now.
func (a *Agent) secretsLooked(refs []string, err error) {
	if failed := a.store.SetGenerations(a.secrets.Generations(refs)); failed != nil {
		a.log.Warn("generations of secrets are not on disk; a restart counts from the ones before", "err", failed)
	}
	a.report.SetNodeCondition(conditionSecrets, staleSecrets(err))
	for _, p := range a.secrets.Providers() {
		a.report.SetNodeCondition(conditionToken+"-"+p.Name, expiringToken(p, time.Now()))
	}
}

func staleSecrets(err error) *api.Condition {
	if err == nil {
		return nil
	}
	return &api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: api.ReasonSecretsStale, Message: err.Error(),
	}
}

// expiringToken warns before nothing can be resolved any more.
func expiringToken(p api.ProviderState, now time.Time) *api.Condition {
	if !p.Token.ExpiresSoon(now) {
		return nil
	}
	days, _ := p.Token.DaysLeft(now)
	when := fmt.Sprintf("expires in %d days, on %s", days, p.Token.Expires.Format(time.DateOnly))
	switch {
	case days < 0:
		when = "expired on " + p.Token.Expires.Format(time.DateOnly)
	case days == 0:
		when = "expires within a day, at " + p.Token.Expires.Format(time.RFC3339)
	}
	return &api.Condition{
		Type: api.ConditionWarning, Status: true, Reason: api.ReasonTokenExpiring, Object: p.Name,
		Message: fmt.Sprintf("the agent's token of %s %s: make a new one and put it in the old one's place", p.Name, when),
	}
}

// jittered spreads the looks of many agents: a tenth more or less.
func jittered(d time.Duration) time.Duration {
	tenth := d / 10
	return d - tenth + rand.N(2*tenth+1) //nolint:gosec // jitter is no secret
}
