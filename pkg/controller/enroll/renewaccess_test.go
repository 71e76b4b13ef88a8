package enroll_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// operator makes one with a certificate.
func (s *site) operator(t *testing.T, name string) (*pki.KeyStore, *pki.Credentials) {
	t.Helper()
	k := keys(t)
	csr, err := k.Request()
	must(t, err)
	granted, err := s.service.Grant(t.Context(), enroll.Grant{Name: name, Role: store.RoleViewer, By: "local", CSR: csr})
	must(t, err)
	c, err := k.Install(pki.Grant{Kind: pki.Operator, Name: name, Chain: granted.Issued.Chain, Authorities: granted.Authority})
	must(t, err)
	return k, c
}

func (s *site) renewAccess(t *testing.T, k *pki.KeyStore, c *pki.Credentials) (*pki.Credentials, error) {
	t.Helper()
	csr, err := k.Request()
	must(t, err)
	answer, err := ktrdrv1.NewAccessServiceClient(s.dial(t, c)).RenewAccess(patience(t), &ktrdrv1.RenewAccessRequest{Csr: csr})
	if err != nil {
		return nil, err
	}
	return k.Install(pki.Grant{Kind: pki.Operator, Name: "karl", Chain: answer.GetChain(), Authorities: answer.GetAuthority()})
}

// TestRenewAccess: the certificate before is good until the next was used, one that got lost is
// of no use, and the removed can't renew.
func TestRenewAccess(t *testing.T) {
	s := serve(t)
	s.admin(t)
	k, first := s.operator(t, "karl")
	known := func(c *pki.Credentials, want bool) {
		t.Helper()
		me, err := s.whoAmI(t, c)
		if got := err == nil; got != want || got && (me.GetName() != "karl" || me.GetRole() != "viewer") {
			t.Errorf("certificate %s: %v, %v, want it to be known: %t", c.Identity.Serial, me, err, want)
		}
	}
	lost, err := s.renewAccess(t, k, first)
	must(t, err)
	second, err := s.renewAccess(t, k, first)
	must(t, err)
	known(lost, false)
	known(first, true)
	known(second, true)
	known(first, false)
	if _, err := s.renewAccess(t, k, first); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewed with one that is over: %v", err)
	}
	third, err := s.renewAccess(t, k, second)
	must(t, err)
	known(third, true)
	must(t, s.service.Remove(t.Context(), "karl"))
	known(third, false)
	if _, err := s.renewAccess(t, k, third); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewed by who was removed: %v", err)
	}
}

func TestRenewAccessIsForCertificates(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	csr, err := keys(t).Request()
	must(t, err)
	if _, err := ada.RenewAccess(patience(t), &ktrdrv1.RenewAccessRequest{Csr: csr}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("with a token: %v", err)
	}
	_, node := s.joined(t, "b")
	if _, err := ktrdrv1.NewAccessServiceClient(s.dial(t, node)).RenewAccess(patience(t), &ktrdrv1.RenewAccessRequest{Csr: csr}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a node: %v", err)
	}
	_, karl := s.operator(t, "karl")
	if _, err := ktrdrv1.NewAccessServiceClient(s.dial(t, karl)).RenewAccess(patience(t), &ktrdrv1.RenewAccessRequest{Csr: []byte("x")}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("nonsense: %v", err)
	}
}

// TestSeen: the list says when an operator called last, and that costs one write an hour.
func TestSeen(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	s.operator(t, "karl") // who never calls
	record := func() store.Operator {
		t.Helper()
		o, err := s.store.Operators().Get(t.Context(), "ada")
		must(t, err)
		return o
	}
	began := time.Now().Add(-time.Second)
	// No call waits for long until it is noted; what can't be is noted by the next one.
	noted := func() bool { return time.Since(record().SeenAt) < time.Hour }
	until := func(ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); s.role(t, ada) {
			if time.Now().After(end) {
				t.Fatal("it is not noted")
			}
		}
	}
	until(noted)
	list, err := ada.ListOperators(patience(t), &ktrdrv1.ListOperatorsRequest{})
	must(t, err)
	if seen := list.GetOperators()[0].GetSeen().AsTime(); seen.Before(began) || list.GetOperators()[1].GetSeen() != nil {
		t.Errorf("seen: %v", list)
	}
	first := record().SeenAt
	for range 5 {
		s.role(t, ada)
	}
	if now := record().SeenAt; !now.Equal(first) {
		t.Errorf("noted again within the hour: %s and %s", first, now)
	}
	_, err = s.store.Operators().Update(t.Context(), "ada", func(o *store.Operator) error {
		o.SeenAt = time.Now().Add(-2 * time.Hour)
		return nil
	})
	must(t, err)
	until(noted)
}
