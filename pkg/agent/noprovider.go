package agent

import (
	"context"
	"errors"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// noProvider answers for a node whose configuration names no secret provider.
type noProvider struct{}

// Name is shown in logs and conditions.
func (noProvider) Name() string { return "none" }

// Resolve refuses every reference.
func (noProvider) Resolve(_ context.Context, refs []string) (map[string]secrets.Result, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	return nil, &secrets.Error{
		Class: api.Waiting, Reason: api.ReasonSecretMissing,
		Err: errors.New("the agent's configuration names no secret provider: set secrets.dotenv.file"),
	}
}
