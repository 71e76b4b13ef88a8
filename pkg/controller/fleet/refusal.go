package fleet

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// refusedStatus is a refused change: FailedPrecondition with a Refusal among its details.
func refusedStatus(r *refusal) error {
	// Header space is scarce: all problems are in the details, the first ones in the text.
	const shown = 3
	text := strings.Join(r.Lines[:min(shown, len(r.Lines))], "\n")
	st := status.New(codes.FailedPrecondition, wire.Text(cut(text, 2<<10)))
	detail := &ktrdrv1.Refusal{Reason: string(api.ReasonInvalid)}
	const most = 20 // details travel in a header of 16 KiB
	for _, p := range r.problems[:min(most, len(r.problems))] {
		p.Message = cut(p.Message, 300)
		detail.Problems = append(detail.Problems, problemToProto(p))
	}
	with, err := st.WithDetails(detail)
	if err != nil {
		return st.Err()
	}
	return with.Err()
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

func problemToProto(p desired.Problem) *ktrdrv1.Problem {
	return &ktrdrv1.Problem{
		File: wire.Text(p.File), Line: int32(min(p.Line, 1<<30)), Column: int32(min(p.Column, 1<<30)), //nolint:gosec // bounded
		Path: wire.Text(p.Path), Message: wire.Text(p.Message),
	}
}

func problemsToProto(problems []desired.Problem) []*ktrdrv1.Problem {
	const most = 1000
	var out []*ktrdrv1.Problem
	for _, p := range problems[:min(most, len(problems))] {
		out = append(out, problemToProto(p))
	}
	return out
}
