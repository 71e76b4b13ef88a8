package wire

import (
	"slices"

	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// NodeStatusToProto converts a status. Times lose what is below a nanosecond and their
// zone; strings that are no UTF-8 are mended.
func NodeStatusToProto(s api.NodeStatus) *ktrdrv1.NodeStatus {
	return &ktrdrv1.NodeStatus{
		Node: Text(s.Node), Version: Text(s.Version), Time: Timestamp(s.Time), Ready: s.Ready,
		Revision: Text(s.Revision), RevisionTime: Timestamp(s.RevisionTime),
		SourceRevision: Text(s.SourceRevision), SourceCheckedAt: Timestamp(s.SourceCheckAt),
		Engine: &ktrdrv1.Engine{
			Reachable: s.Engine.Reachable, Version: Text(s.Engine.Version),
			ApiVersion: Text(s.Engine.APIVersion), StorageDriver: Text(s.Engine.Driver),
		},
		Policy: &ktrdrv1.PolicyStatus{
			Enforced: s.Policy.Enforced, File: Text(s.Policy.File), LoadedAt: Timestamp(s.Policy.LoadedAt),
		},
		Conditions:      each(s.Conditions, ConditionToProto),
		Stacks:          each(s.Stacks, StackStatusToProto),
		Mounts:          each(s.Mounts, mountToProto),
		SecretProviders: each(s.SecretProviders, providerToProto),
		Registrars:      each(s.Registrars, registrarToProto),
		Backups:         each(s.Backups, backupToProto),
	}
}

// NodeStatusFromProto converts a status.
func NodeStatusFromProto(s *ktrdrv1.NodeStatus) api.NodeStatus {
	return api.NodeStatus{
		Node: s.GetNode(), Version: s.GetVersion(), Time: Time(s.GetTime()), Ready: s.GetReady(),
		Revision: s.GetRevision(), RevisionTime: Time(s.GetRevisionTime()),
		SourceRevision: s.GetSourceRevision(), SourceCheckAt: Time(s.GetSourceCheckedAt()),
		Engine: api.Engine{
			Reachable: s.GetEngine().GetReachable(), Version: s.GetEngine().GetVersion(),
			APIVersion: s.GetEngine().GetApiVersion(), Driver: s.GetEngine().GetStorageDriver(),
		},
		Policy: api.PolicyStatus{
			Enforced: s.GetPolicy().GetEnforced(), File: s.GetPolicy().GetFile(), LoadedAt: Time(s.GetPolicy().GetLoadedAt()),
		},
		Conditions:      each(s.GetConditions(), ConditionFromProto),
		Stacks:          shown(s.GetStacks(), StackStatusFromProto),
		Mounts:          each(s.GetMounts(), mountFromProto),
		SecretProviders: each(s.GetSecretProviders(), providerFromProto),
		Registrars:      each(s.GetRegistrars(), registrarFromProto),
		Backups:         each(s.GetBackups(), backupFromProto),
	}
}

// ConditionToProto converts a condition.
func ConditionToProto(c api.Condition) *ktrdrv1.Condition {
	return &ktrdrv1.Condition{
		Type: Text(c.Type), Status: c.Status, Reason: Text(c.Reason), Message: Text(c.Message),
		Object: Text(c.Object), Since: Timestamp(c.Since),
	}
}

// ConditionFromProto converts a condition.
func ConditionFromProto(c *ktrdrv1.Condition) api.Condition {
	return api.Condition{
		Type: c.GetType(), Status: c.GetStatus(), Reason: api.Reason(c.GetReason()), Message: c.GetMessage(),
		Object: c.GetObject(), Since: Time(c.GetSince()),
	}
}

// StackStatusToProto converts the state of a stack.
func StackStatusToProto(s api.StackStatus) *ktrdrv1.StackStatus {
	return &ktrdrv1.StackStatus{
		Name: Text(s.Name), Project: Text(s.Project), Converged: s.Converged, Reason: Text(s.Reason), Message: Text(s.Message),
		Conditions: each(s.Conditions, ConditionToProto),
		Services:   each(s.Services, serviceToProto),
		Pending:    texts(s.Pending),
		Hold:       optional(s.Hold, HoldToProto),
		Rollout:    optional(s.Rollout, rolloutToProto),
		References: each(s.Secrets, stackSecretToProto),
	}
}

// StackStatusFromProto converts the state of a stack.
func StackStatusFromProto(s *ktrdrv1.StackStatus) api.StackStatus {
	return api.StackStatus{
		Name: s.GetName(), Project: s.GetProject(), Converged: s.GetConverged(), Reason: api.Reason(s.GetReason()), Message: s.GetMessage(),
		Conditions: each(s.GetConditions(), ConditionFromProto),
		Services:   shown(s.GetServices(), serviceFromProto),
		Pending:    slices.Clone(s.GetPending()),
		Hold:       HoldFromProto(s.GetHold()),
		Rollout:    rolloutFromProto(s.GetRollout()),
		Secrets:    each(s.GetReferences(), stackSecretFromProto),
	}
}

// HoldToProto converts a hold.
func HoldToProto(h api.Hold) *ktrdrv1.Hold {
	return &ktrdrv1.Hold{Until: Timestamp(h.Until), Why: Text(h.Why), Who: Text(h.Who), Since: Timestamp(h.Since)}
}

// HoldFromProto converts a hold; nil for none.
func HoldFromProto(h *ktrdrv1.Hold) *api.Hold {
	if h == nil {
		return nil
	}
	return &api.Hold{Until: Time(h.GetUntil()), Why: h.GetWhy(), Who: h.GetWho(), Since: Time(h.GetSince())}
}

func rolloutToProto(r api.RolloutStatus) *ktrdrv1.RolloutStatus {
	return &ktrdrv1.RolloutStatus{
		Phase: Text(r.Phase), Good: Text(r.Good), GoodAt: Timestamp(r.GoodAt), Failed: optional(r.Failed, failedToProto),
	}
}

func rolloutFromProto(r *ktrdrv1.RolloutStatus) *api.RolloutStatus {
	if r == nil {
		return nil
	}
	return &api.RolloutStatus{
		Phase: r.GetPhase(), Good: r.GetGood(), GoodAt: Time(r.GetGoodAt()), Failed: failedFromProto(r.GetFailed()),
	}
}

func failedToProto(f api.FailedUpdate) *ktrdrv1.FailedUpdate {
	return &ktrdrv1.FailedUpdate{
		Revision: Text(f.Revision), Digest: Text(f.Digest), Images: textMap(f.Images), Action: Text(f.Action),
		Service: Text(f.Service), Container: Text(f.Container), Reason: Text(f.Reason), Message: Text(f.Message),
		Log: texts(f.Log), At: Timestamp(f.At),
	}
}

func failedFromProto(f *ktrdrv1.FailedUpdate) *api.FailedUpdate {
	if f == nil {
		return nil
	}
	return &api.FailedUpdate{
		Revision: f.GetRevision(), Digest: f.GetDigest(), Images: cloneMap(f.GetImages()), Action: f.GetAction(),
		Service: f.GetService(), Container: f.GetContainer(), Reason: api.Reason(f.GetReason()), Message: f.GetMessage(),
		Log: slices.Clone(f.GetLog()), At: Time(f.GetAt()),
	}
}

func serviceToProto(s api.ServiceStatus) *ktrdrv1.ServiceStatus {
	return &ktrdrv1.ServiceStatus{
		Service: Text(s.Service), Container: Text(s.Container), Id: Text(s.ID), Image: Text(s.Image), RunningImage: Text(s.Running),
		WantedDigest: Text(s.Wanted), ActualDigest: Text(s.Actual), State: Text(s.State), Health: Text(s.Health),
		Converged: s.Converged, Reason: Text(s.Reason), Message: Text(s.Message),
		StartedAt: Timestamp(s.StartedAt), Restarts: int64(s.Restarts), Registration: optional(s.Registration, registrationToProto),
	}
}

func serviceFromProto(s *ktrdrv1.ServiceStatus) api.ServiceStatus {
	return api.ServiceStatus{
		Service: s.GetService(), Container: s.GetContainer(), ID: s.GetId(), Image: s.GetImage(), Running: s.GetRunningImage(),
		Wanted: s.GetWantedDigest(), Actual: s.GetActualDigest(), State: s.GetState(), Health: api.Health(s.GetHealth()),
		Converged: s.GetConverged(), Reason: api.Reason(s.GetReason()), Message: s.GetMessage(),
		StartedAt: Time(s.GetStartedAt()), Restarts: int(s.GetRestarts()), Registration: registrationFromProto(s.GetRegistration()),
	}
}

func mountToProto(m api.MountStatus) *ktrdrv1.MountStatus {
	return &ktrdrv1.MountStatus{Path: Text(m.Path), Ok: m.OK, Reason: Text(m.Reason), Message: Text(m.Message)}
}

func mountFromProto(m *ktrdrv1.MountStatus) api.MountStatus {
	return api.MountStatus{Path: m.GetPath(), OK: m.GetOk(), Reason: api.Reason(m.GetReason()), Message: m.GetMessage()}
}

// EventToProto converts an event.
func EventToProto(e api.Event) *ktrdrv1.Event {
	return &ktrdrv1.Event{
		Seq: e.Seq, Time: Timestamp(e.Time), Level: Text(e.Level), Stack: Text(e.Stack), Object: Text(e.Object),
		Reason: Text(e.Reason), Message: Text(e.Message),
	}
}

// EventFromProto converts an event.
func EventFromProto(e *ktrdrv1.Event) api.Event {
	return api.Event{
		Seq: e.GetSeq(), Time: Time(e.GetTime()), Level: e.GetLevel(), Stack: e.GetStack(), Object: e.GetObject(),
		Reason: api.Reason(e.GetReason()), Message: e.GetMessage(),
	}
}
