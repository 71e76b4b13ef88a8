package enroll

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// maxAudit is the longest page of the audit trail.
const maxAudit = 1000

// WhoAmI tells who the caller is taken for.
func (s *Service) WhoAmI(ctx context.Context, _ *ktrdrv1.WhoAmIRequest) (*ktrdrv1.WhoAmIResponse, error) {
	caller, ok := access.CallerFrom(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "nobody found out who calls")
	}
	answer := &ktrdrv1.WhoAmIResponse{Name: caller.Name, By: caller.By, Expires: wire.Timestamp(caller.Expires)}
	switch caller.Role {
	case access.Anonymous, access.Node, access.Controller:
		answer.Kind = string(caller.Role)
	case access.Viewer, access.Operator, access.Admin:
		answer.Kind, answer.Role = "operator", string(caller.Role)
	}
	return answer, nil
}

// ListOperators lists operators by name.
func (s *Service) ListOperators(ctx context.Context, _ *ktrdrv1.ListOperatorsRequest) (*ktrdrv1.ListOperatorsResponse, error) {
	all, err := s.cfg.Store.Operators().List(ctx)
	if err != nil {
		return nil, s.failed(ctx, "list operators", err)
	}
	answer := &ktrdrv1.ListOperatorsResponse{}
	for _, o := range all {
		answer.Operators = append(answer.Operators, &ktrdrv1.Operator{
			Name: o.Name, Email: o.Email, Role: string(o.Role), Created: wire.Timestamp(o.CreatedAt),
			CreatedBy: o.CreatedBy, Expires: wire.Timestamp(o.ExpiresAt), Seen: wire.Timestamp(o.SeenAt),
		})
	}
	return answer, nil
}

// CreateOperator makes an operator, or gives one new access.
func (s *Service) CreateOperator(ctx context.Context, r *ktrdrv1.CreateOperatorRequest) (*ktrdrv1.CreateOperatorResponse, error) {
	caller, _ := access.CallerFrom(ctx)
	o := r.GetOperator()
	access.Note(ctx, "operator="+o.GetName()+" role="+o.GetRole(), "")
	granted, err := s.Grant(ctx, Grant{
		Name: o.GetName(), Email: o.GetEmail(), Role: store.Role(o.GetRole()), Expires: wire.Time(o.GetExpires()),
		CSR: r.GetCsr(), By: caller.String(),
	})
	if err != nil {
		return nil, s.refused(ctx, "make an operator", err)
	}
	answer := &ktrdrv1.CreateOperatorResponse{Authority: granted.Authority}
	if granted.Token != nil {
		answer.AccessToken = granted.Token.Text()
		access.Note(ctx, "", "token "+granted.Token.ID)
	} else {
		answer.Chain = granted.Issued.Chain
		access.Note(ctx, "", "certificate "+granted.Issued.Serial)
	}
	return answer, nil
}

// RemoveOperator ends an operator's access at once.
func (s *Service) RemoveOperator(ctx context.Context, r *ktrdrv1.RemoveOperatorRequest) (*ktrdrv1.RemoveOperatorResponse, error) {
	err := s.Remove(ctx, r.GetName())
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalid):
		return nil, status.Errorf(codes.NotFound, "there is no operator %.80q", r.GetName())
	case err != nil:
		return nil, s.refused(ctx, "remove an operator", err)
	}
	return &ktrdrv1.RemoveOperatorResponse{}, nil
}

// ListAudit lists what was done, the newest first.
func (s *Service) ListAudit(ctx context.Context, r *ktrdrv1.ListAuditRequest) (*ktrdrv1.ListAuditResponse, error) {
	limit := int(r.GetLimit())
	if limit <= 0 || limit > maxAudit {
		limit = maxAudit
	}
	entries, err := s.cfg.Store.Audit(ctx, limit, r.GetBefore())
	if err != nil {
		return nil, s.refused(ctx, "read the audit trail", err)
	}
	answer := &ktrdrv1.ListAuditResponse{}
	for _, e := range entries {
		answer.Entries = append(answer.Entries, &ktrdrv1.AuditEntry{
			At: wire.Timestamp(e.At), Who: e.Who, Role: string(e.Role), What: e.What, Target: e.Target,
			From: e.From, Result: e.Result, Detail: e.Detail,
		})
	}
	if len(entries) == limit {
		answer.Next = entries[limit-1].ID
	}
	return answer, nil
}

// refused tells a caller what is wrong with the request, or that it failed.
func (s *Service) refused(ctx context.Context, doing string, err error) error {
	switch {
	case errors.Is(err, ErrRequest):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, store.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return s.failed(ctx, doing, err)
}
