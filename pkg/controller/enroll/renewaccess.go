package enroll

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// RenewAccess gives an operator who shows a certificate the next one, for a new key. The one
// that is shown is good until the next was used. Role and end of all access stay what they
// are: the record has them.
func (s *Service) RenewAccess(ctx context.Context, r *ktrdrv1.RenewAccessRequest) (*ktrdrv1.RenewAccessResponse, error) {
	caller, ok := access.CallerFrom(ctx)
	if !ok || !caller.Role.Allows(access.Viewer) || caller.By != access.ByCertificate || caller.Serial == "" {
		return nil, status.Error(codes.FailedPrecondition, "only who shows a certificate renews it; an admin makes a new token: ktrdrctl operator add NAME")
	}
	access.Note(ctx, "operator="+caller.Name, "")
	if _, err := pki.ParseCSR(r.GetCsr()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	authority := s.cfg.Authority()
	issued, err := authority.IssueOperator(caller.Name, r.GetCsr())
	if err != nil {
		return nil, s.failed(ctx, "renew the certificate of operator "+caller.Name, err)
	}
	_, err = s.cfg.Store.Operators().Update(ctx, caller.Name, func(o *store.Operator) error {
		return succeed(o, caller.Serial, issued.Serial)
	})
	switch {
	case errors.Is(err, access.ErrDenied), errors.Is(err, store.ErrNotFound):
		return nil, status.Error(codes.Unauthenticated, "this certificate is not the operator's any more; an admin makes another one")
	case err != nil:
		return nil, s.failed(ctx, "renew the certificate of operator "+caller.Name, err)
	}
	access.Note(ctx, "", "certificate "+issued.Serial)
	return &ktrdrv1.RenewAccessResponse{Chain: issued.Chain, Authority: authority.BundleDER()}, nil
}

// succeed makes next the successor of a certificate. One that was made before and never used
// is of no use any more: its answer got lost.
func succeed(o *store.Operator, serial, next string) error {
	// The operator may have been removed and made anew since the guard looked.
	if !slices.Contains(o.CertSerials, serial) {
		return access.ErrDenied
	}
	serials, replaces := slices.Clone(o.CertSerials), maps.Clone(o.Replaces)
	for lost, before := range replaces {
		if before == serial {
			serials = slices.DeleteFunc(serials, func(s string) bool { return s == lost })
		}
	}
	serials = append(serials, next)
	o.CertSerials = serials[max(0, len(serials)-maxCertificates):]
	if replaces == nil {
		replaces = map[string]string{}
	}
	replaces[next] = serial
	maps.DeleteFunc(replaces, func(next, before string) bool {
		return !slices.Contains(o.CertSerials, next) || !slices.Contains(o.CertSerials, before)
	})
	o.Replaces = replaces
	return nil
}

// settled is the first use of a certificate: it ends the one that it replaces.
func settled(o *store.Operator, serial string) {
	before, ok := o.Replaces[serial]
	if !ok {
		return
	}
	o.CertSerials = slices.DeleteFunc(slices.Clone(o.CertSerials), func(s string) bool { return s == before })
	o.Replaces = maps.Clone(o.Replaces)
	maps.DeleteFunc(o.Replaces, func(next, _ string) bool { return next == serial })
}
