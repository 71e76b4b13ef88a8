package source

import (
	"errors"
	"fmt"
)

// Reason is a stable CamelCase word for a class of failures. Conditions, metrics and tests use it.
type Reason string

// Reasons of *Error. Those that only a person can mend are terminal until the origin or the configuration changes.
const (
	// ReasonUnreachable: the origin gave no usable answer (refused, timed out, name not found, 5xx). Transient.
	ReasonUnreachable Reason = "SourceUnreachable"
	// ReasonAuthentication: the origin answered and refused the token or the key.
	ReasonAuthentication Reason = "AuthenticationFailed"
	// ReasonRepositoryNotFound: the origin answers, but has no such repository (or hides it from this credential).
	ReasonRepositoryNotFound Reason = "RepositoryNotFound"
	// ReasonBranchNotFound: the repository has no such branch, or no commit at all.
	ReasonBranchNotFound Reason = "BranchNotFound"
	// ReasonPathNotFound: the folder, or the sub-folder inside the repository, does not exist.
	ReasonPathNotFound Reason = "PathNotFound"
	// ReasonNotDesired: the fleet's desired state has no file of this node.
	ReasonNotDesired Reason = "NotDesired"
	// ReasonPending: the desired state has the node, and its rollout has not come to it.
	ReasonPending Reason = "RolloutPending"
	// ReasonSignatureInvalid: the commit is signed, but by no configured key, or its content was changed.
	ReasonSignatureInvalid Reason = "SignatureInvalid"
	// ReasonSignatureMissing: signatures are required and the commit has none.
	ReasonSignatureMissing Reason = "SignatureMissing"
	// ReasonHostKeyUnknown: known_hosts has no key for the ssh host.
	ReasonHostKeyUnknown Reason = "HostKeyUnknown"
	// ReasonHostKeyMismatch: the ssh host showed another key than known_hosts has.
	ReasonHostKeyMismatch Reason = "HostKeyMismatch"
	// ReasonCacheCorrupt: the local copy of the repository was unreadable even after it was cloned again.
	ReasonCacheCorrupt Reason = "CacheCorrupt"
	// ReasonCertificate: the https server's certificate is not trusted, expired, or of another name.
	ReasonCertificate Reason = "CertificateInvalid"
	// ReasonTooLarge: the tree or the transfer is over a limit.
	ReasonTooLarge Reason = "TooLarge"
	// ReasonInvalid: the configuration, or what the origin holds, can't be used (a submodule, a socket, …).
	ReasonInvalid Reason = "InvalidSource"
	// ReasonChanging: the folder was written to during every attempt to copy it. Transient.
	ReasonChanging Reason = "SourceChanging"
	// ReasonMoved: the branch to push to is no longer where it was. Fetching helps.
	ReasonMoved Reason = "BranchMoved"
	// ReasonPushRefused: the server has what was pushed and does not want it.
	ReasonPushRefused Reason = "PushRefused"
	// ReasonStorage: this machine could not read or write (disk full, permissions).
	ReasonStorage Reason = "StorageFailed"
	// ReasonCanceled: the caller ended the operation; says nothing about the origin.
	ReasonCanceled Reason = "Canceled"
)

// Error is what Fetch returns. Its text holds no credential.
type Error struct {
	// Reason is the class of the failure.
	Reason Reason
	// Op says what was being done to what, for example "fetch branch main of https://git.example/fleet.git".
	Op string
	// Err is the cause, with the way out where one is known.
	Err error
}

// Error returns "op: cause".
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the Reason of the first *Error in err's chain, or "" when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// fail makes an *Error without an Op; the exported methods add it with during.
func fail(reason Reason, format string, args ...any) error {
	return &Error{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// during gives err its Op, and the Reason StorageFailed when nothing below knew better.
func during(op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Reason: e.Reason, Op: op, Err: e.Err}
	}
	return &Error{Reason: ReasonStorage, Op: op, Err: err}
}
