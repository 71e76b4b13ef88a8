package api

import "time"

// ErrorClass drives condition, event and requeue of a failure in one place.
type ErrorClass string

// Classes of failures.
const (
	// Terminal failures are not tried again until the desired state changes.
	Terminal ErrorClass = "Terminal"
	// Waiting needs something outside the agent; a bell or a timer tries again.
	Waiting ErrorClass = "Waiting"
	// Transient failures are tried again with a back-off.
	Transient ErrorClass = "Transient"
)

// Reason is a stable CamelCase word for why something is as it is.
type Reason string

// Reasons. docs/spec/conditions.md explains each with its fix.
const (
	ReasonConverged        Reason = "Converged"
	ReasonProgressing      Reason = "Progressing"
	ReasonOnHold           Reason = "OnHold"
	ReasonNotObserved      Reason = "NotObserved"
	ReasonInvalid          Reason = "DesiredStateInvalid"
	ReasonStale            Reason = "DesiredStateStale"
	ReasonSourceFailed     Reason = "SourceUnreachable"
	ReasonEngineDown       Reason = "EngineUnreachable"
	ReasonEngineHung       Reason = "EngineTimeout"
	ReasonEngineFailed     Reason = "EngineError"
	ReasonImageMissing     Reason = "ImageMissing"
	ReasonImageDenied      Reason = "ImagePullDenied"
	ReasonImagePull        Reason = "ImagePullFailed"
	ReasonMountMissing     Reason = "MountMissing"
	ReasonMountHung        Reason = "MountTimeout"
	ReasonMountReadOnly    Reason = "MountNotWritable"
	ReasonMountGroup       Reason = "MountWrongGroup"
	ReasonDataUnprotected  Reason = "DataWouldBeLost"
	ReasonForeign          Reason = "ForeignObject"
	ReasonNameConflict     Reason = "NameConflict"
	ReasonPortConflict     Reason = "PortConflict"
	ReasonPortLost         Reason = "PortLost"
	ReasonNetworkDiverged  Reason = "NetworkDiverged"
	ReasonVolumeDiverged   Reason = "VolumeDiverged"
	ReasonExternalMissing  Reason = "ExternalMissing"
	ReasonUnhealthy        Reason = "Unhealthy"
	ReasonHealthInherited  Reason = "HealthcheckInherited"
	ReasonCrashLoop        Reason = "CrashLoopBackOff"
	ReasonJobFailed        Reason = "JobFailed"
	ReasonDependency       Reason = "DependencyNotReady"
	ReasonDependencyFailed Reason = "DependencyFailed"
	ReasonSecretMissing    Reason = "SecretMissing"
	ReasonSecretInvalid    Reason = "SecretInvalid"
	ReasonSecretsStale     Reason = "SecretsStale"
	ReasonProviderDown     Reason = "SecretProviderUnreachable"
	ReasonProviderDenied   Reason = "SecretProviderDenied"
	ReasonTokenExpiring    Reason = "SecretTokenExpiring"
	ReasonSecretsInEnv     Reason = "SecretsInEnvironment"
	ReasonUndeliverable    Reason = "SecretsUndeliverable"
	ReasonRotating         Reason = "RotationInProgress"
	ReasonRotationFailed   Reason = "RotationFailed"
	ReasonRotationRefused  Reason = "RotationRefused"
	ReasonContainerHung    Reason = "ContainerUnresponsive"
	ReasonHookFailed       Reason = "HookFailed"
	ReasonRollingBack      Reason = "RollingBack"
	ReasonRolledBack       Reason = "RolledBack"
	ReasonUpdatePaused     Reason = "UpdatePaused"
	ReasonStateCorrupt     Reason = "StateCorrupt"
	ReasonDiskFull         Reason = "DiskFull"
	ReasonUnsupported      Reason = "UnsupportedByEngine"
	ReasonPolicyViolation  Reason = "PolicyViolation"
	ReasonPolicyInvalid    Reason = "PolicyInvalid"

	ReasonNotRegistered  Reason = "NotRegistered"
	ReasonRegistrarDown  Reason = "RegistrarUnreachable"
	ReasonBackupMissing  Reason = "BackupMissing"
	ReasonBackupStale    Reason = "BackupStale"
	ReasonBackupTooSmall Reason = "BackupTooSmall"

	ReasonCertificateExpiring Reason = "CertificateExpiring"
	ReasonCertificateRejected Reason = "CertificateRejected"

	ReasonHeadUnreadable    Reason = "HeadUnreadable"    // of a controller
	ReasonAuthorityExpiring Reason = "AuthorityExpiring" // of a controller
)

// Condition types.
const (
	// ConditionConverged is true when everything was read back as wanted and healthy.
	ConditionConverged = "Converged"
	// ConditionBlocked is true when a person has to act before the stack can converge.
	ConditionBlocked = "Blocked"
	// ConditionDegraded is true when something that runs is not as wanted.
	ConditionDegraded = "Degraded"
	// ConditionWarning is true when all is as wanted and will not stay so by itself.
	ConditionWarning = "Warning"
)

// Condition is one statement about a node, a stack or a service.
type Condition struct {
	Type   string `json:"type"`
	Status bool   `json:"status"`
	Reason Reason `json:"reason"`
	// Message is one sentence that says what to do. It never holds a secret.
	Message string `json:"message,omitzero"`
	// Object is the service, network, volume, container or mount it is about.
	Object string    `json:"object,omitzero"`
	Since  time.Time `json:"since,omitzero"`
}
