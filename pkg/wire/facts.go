package wire

import (
	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func stackSecretToProto(s api.StackSecret) *ktrdrv1.StackReference {
	return &ktrdrv1.StackReference{
		Reference: Text(s.Reference), Generation: s.Generation, WantedGeneration: s.Wanted, Since: Timestamp(s.Since),
		Phase: Text(s.Phase), ConfirmedAt: Timestamp(s.ConfirmedAt),
	}
}

func stackSecretFromProto(s *ktrdrv1.StackReference) api.StackSecret {
	return api.StackSecret{
		Reference: s.GetReference(), Generation: s.GetGeneration(), Wanted: s.GetWantedGeneration(), Since: Time(s.GetSince()),
		Phase: api.SecretPhase(s.GetPhase()), ConfirmedAt: Time(s.GetConfirmedAt()),
	}
}

func registrationToProto(r api.RegistrationStatus) *ktrdrv1.RegistrationStatus {
	return &ktrdrv1.RegistrationStatus{
		Registered: r.Registered, State: Text(r.State), Since: Timestamp(r.Since), Reason: Text(r.Reason), Message: Text(r.Message),
	}
}

func registrationFromProto(r *ktrdrv1.RegistrationStatus) *api.RegistrationStatus {
	if r == nil {
		return nil
	}
	return &api.RegistrationStatus{
		Registered: r.GetRegistered(), State: r.GetState(), Since: Time(r.GetSince()),
		Reason: api.Reason(r.GetReason()), Message: r.GetMessage(),
	}
}

func registrarToProto(r api.RegistrarStatus) *ktrdrv1.RegistrarStatus {
	return &ktrdrv1.RegistrarStatus{
		Url: Text(r.URL), Ok: r.OK, CheckedAt: Timestamp(r.CheckedAt), Reason: Text(r.Reason), Message: Text(r.Message),
	}
}

func registrarFromProto(r *ktrdrv1.RegistrarStatus) api.RegistrarStatus {
	return api.RegistrarStatus{
		URL: r.GetUrl(), OK: r.GetOk(), CheckedAt: Time(r.GetCheckedAt()), Reason: api.Reason(r.GetReason()), Message: r.GetMessage(),
	}
}

func backupToProto(b api.BackupStatus) *ktrdrv1.BackupStatus {
	return &ktrdrv1.BackupStatus{
		Name: Text(b.Name), Stack: Text(b.Stack), Ok: b.OK, File: Text(b.File), Size: b.Size, Time: Timestamp(b.Time),
		CheckedAt: Timestamp(b.CheckedAt), Reason: Text(b.Reason), Message: Text(b.Message),
	}
}

func backupFromProto(b *ktrdrv1.BackupStatus) api.BackupStatus {
	return api.BackupStatus{
		Name: b.GetName(), Stack: b.GetStack(), OK: b.GetOk(), File: b.GetFile(), Size: b.GetSize(), Time: Time(b.GetTime()),
		CheckedAt: Time(b.GetCheckedAt()), Reason: api.Reason(b.GetReason()), Message: b.GetMessage(),
	}
}
