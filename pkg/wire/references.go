package wire

import (
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// SecretsStatusToProto converts references and their users; there is no value in them.
func SecretsStatusToProto(s api.SecretsStatus) *ktrdrv1.SecretsStatus {
	return &ktrdrv1.SecretsStatus{
		Node: Text(s.Node), Time: Timestamp(s.Time),
		Providers:  each(s.Providers, providerToProto),
		References: each(s.Secrets, referenceToProto),
	}
}

// SecretsStatusFromProto converts references and their users.
func SecretsStatusFromProto(s *ktrdrv1.SecretsStatus) api.SecretsStatus {
	return api.SecretsStatus{
		Node: s.GetNode(), Time: Time(s.GetTime()),
		Providers: shown(s.GetProviders(), providerFromProto),
		Secrets:   shown(s.GetReferences(), referenceFromProto),
	}
}

func referenceToProto(s api.SecretStatus) *ktrdrv1.ReferenceStatus {
	return &ktrdrv1.ReferenceStatus{
		Reference: Text(s.Reference), Provider: Text(s.Provider), Phase: Text(s.Phase), Generation: s.Generation,
		ConfirmedAt: Timestamp(s.ConfirmedAt), ChangedAt: Timestamp(s.ChangedAt), Reason: Text(s.Reason), Message: Text(s.Message),
		Users: each(s.Users, userToProto),
	}
}

func referenceFromProto(s *ktrdrv1.ReferenceStatus) api.SecretStatus {
	return api.SecretStatus{
		Reference: s.GetReference(), Provider: s.GetProvider(), Phase: api.SecretPhase(s.GetPhase()), Generation: s.GetGeneration(),
		ConfirmedAt: Time(s.GetConfirmedAt()), ChangedAt: Time(s.GetChangedAt()), Reason: api.Reason(s.GetReason()), Message: s.GetMessage(),
		Users: shown(s.GetUsers(), userFromProto),
	}
}

func userToProto(u api.SecretUser) *ktrdrv1.ReferenceUser {
	return &ktrdrv1.ReferenceUser{Stack: Text(u.Stack), Service: Text(u.Service), Registry: Text(u.Registry)}
}

func userFromProto(u *ktrdrv1.ReferenceUser) api.SecretUser {
	return api.SecretUser{Stack: u.GetStack(), Service: u.GetService(), Registry: u.GetRegistry()}
}

func providerToProto(p api.ProviderState) *ktrdrv1.ProviderState {
	return &ktrdrv1.ProviderState{
		Name: Text(p.Name), Schemes: texts(p.Schemes), Reachable: p.Reachable,
		LastAttempt: Timestamp(p.LastAttempt), LastSuccess: Timestamp(p.LastSuccess), Reason: Text(p.Reason), Message: Text(p.Message),
		Requests: p.Requests, FailedRequests: p.FailedRequests, Access: optional(p.Token, tokenToProto),
	}
}

func providerFromProto(p *ktrdrv1.ProviderState) api.ProviderState {
	state := api.ProviderState{
		Name: p.GetName(), Schemes: append([]string{}, p.GetSchemes()...), Reachable: p.GetReachable(),
		LastAttempt: Time(p.GetLastAttempt()), LastSuccess: Time(p.GetLastSuccess()), Reason: api.Reason(p.GetReason()), Message: p.GetMessage(),
		Requests: p.GetRequests(), FailedRequests: p.GetFailedRequests(),
	}
	if access := p.GetAccess(); access != nil {
		state.Token = &api.TokenState{Expires: Time(access.GetExpires()), Vaults: each(access.GetVaults(), vaultFromProto)}
	}
	return state
}

func tokenToProto(t api.TokenState) *ktrdrv1.AccessState {
	return &ktrdrv1.AccessState{Expires: Timestamp(t.Expires), Vaults: each(t.Vaults, vaultToProto)}
}

func vaultToProto(v api.VaultScope) *ktrdrv1.VaultScope {
	return &ktrdrv1.VaultScope{Id: Text(v.ID), Name: Text(v.Name)}
}

func vaultFromProto(v *ktrdrv1.VaultScope) api.VaultScope {
	return api.VaultScope{ID: v.GetId(), Name: v.GetName()}
}

// CheckToProto converts a row of a doctor's report; its duration is rounded to milliseconds.
func CheckToProto(c api.Check) *ktrdrv1.Check {
	return &ktrdrv1.Check{
		Name: Text(c.Name), Subject: Text(c.Subject), Result: Text(c.Result), Message: Text(c.Message), Fix: Text(c.Fix),
		Millis: c.Took.Round(time.Millisecond).Milliseconds(),
	}
}

// maxCheck bounds a duration from outside, which could overflow.
const maxCheck = 24 * time.Hour

// CheckFromProto converts a row of a doctor's report. An outcome that this version does
// not know counts as a failure.
func CheckFromProto(c *ktrdrv1.Check) api.Check {
	result := api.CheckResult(c.GetResult())
	if !slices.Contains(api.CheckResults(), result) {
		result = api.CheckFail
	}
	millis := min(max(c.GetMillis(), 0), maxCheck.Milliseconds())
	return api.Check{
		Name: c.GetName(), Subject: c.GetSubject(), Result: result, Message: c.GetMessage(), Fix: c.GetFix(),
		Took: time.Duration(millis) * time.Millisecond,
	}
}
