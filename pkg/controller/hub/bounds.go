package hub

import (
	"regexp"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Limits of what agents say, in bytes and numbers.
const (
	maxWord     = 256
	maxSentence = 4 << 10
	maxSums     = 10_000
	maxBatch    = 200
	// maxStatus is half of what the store keeps of a node.
	maxStatus   = 512 << 10
	maxCommands = 64
	maxEvent    = 8 << 10
)

// digestForm is that of a slice.
var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) //nolint:gochecknoglobals // a constant that Go can't write as one

func refuse(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func words(limit int, texts ...string) bool {
	for _, text := range texts {
		if len(text) > limit {
			return false
		}
	}
	return true
}

func checkHello(h *ktrdrv1.Hello) error {
	switch {
	case !words(maxWord, h.GetVersion(), h.GetCommit(), h.GetPlatform(), h.GetRevision(), h.GetRunId()), !words(maxWord, h.GetCommands()...):
		return refuse("Hello: a field has more than %d bytes", maxWord)
	case len(h.GetCommands()) > maxCommands:
		return refuse("Hello: more than %d commands", maxCommands)
	case h.GetSliceDigest() != "" && !digestForm.MatchString(h.GetSliceDigest()):
		return refuse("Hello: the digest of the slice is not sha256:<hex>")
	}
	return nil
}

func checkSliceResult(r *ktrdrv1.SliceResult) error {
	switch {
	case !digestForm.MatchString(r.GetDigest()):
		return refuse("SliceResult: the digest is not sha256:<hex>")
	case !words(maxWord, r.GetRevision(), r.GetReason()) || !words(maxSentence, r.GetMessage()):
		return refuse("SliceResult: a field is too long")
	}
	return nil
}

// checkStatus: a node speaks for itself only.
func checkStatus(node string, u *ktrdrv1.StatusUpdate) error {
	switch {
	case u.GetStatus() == nil || u.GetSeq() == 0:
		return refuse("StatusUpdate: status and number are required")
	case u.GetStatus().GetNode() != node:
		return status.Errorf(codes.PermissionDenied, "StatusUpdate: it is about node %.80q, the certificate is of node %s", u.GetStatus().GetNode(), node)
	case u.GetSliceDigest() != "" && !digestForm.MatchString(u.GetSliceDigest()):
		return refuse("StatusUpdate: the digest of the slice is not sha256:<hex>")
	case proto.Size(u) > maxStatus:
		return refuse("StatusUpdate: more than %d bytes", maxStatus)
	}
	return nil
}

func checkEvents(b *ktrdrv1.EventBatch) error {
	if len(b.GetEvents()) > maxBatch {
		return refuse("EventBatch: more than %d events", maxBatch)
	}
	for _, e := range b.GetEvents() {
		if e.GetSeq() == 0 || proto.Size(e) > maxEvent {
			return refuse("EventBatch: an event without a number, or of more than %d bytes", maxEvent)
		}
	}
	return nil
}
