package enroll_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// admin makes the first admin, as the controller's own machine does.
func (s *site) admin(t *testing.T) (ktrdrv1.AccessServiceClient, *pki.OperatorToken) {
	t.Helper()
	granted, err := s.service.Grant(t.Context(), enroll.Grant{Name: "ada", Role: store.RoleAdmin, By: "local"})
	must(t, err)
	return s.dialToken(t, granted.Token.Text()), granted.Token
}

func (s *site) role(t *testing.T, client ktrdrv1.AccessServiceClient) string {
	t.Helper()
	me, err := client.WhoAmI(patience(t), &ktrdrv1.WhoAmIRequest{})
	if err != nil {
		return status.Code(err).String()
	}
	return me.GetName() + " " + me.GetRole() + " " + me.GetBy()
}

func TestOperators(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	create := func(o *ktrdrv1.Operator) (*ktrdrv1.CreateOperatorResponse, error) {
		return ada.CreateOperator(patience(t), &ktrdrv1.CreateOperatorRequest{Operator: o})
	}
	first, err := create(&ktrdrv1.Operator{Name: "karl", Email: "karl@example.org", Role: "viewer"})
	must(t, err)
	karl := s.dialToken(t, first.GetAccessToken())
	want := func(client ktrdrv1.AccessServiceClient, want string) {
		t.Helper()
		if got := s.role(t, client); got != want {
			t.Errorf("the caller is %q, want %q", got, want)
		}
	}
	want(karl, "karl viewer token")
	if _, err := karl.ListOperators(patience(t), &ktrdrv1.ListOperatorsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer listed operators: %v", err)
	}
	// Another role counts at once; a new token ends the one before; the address stays.
	second, err := create(&ktrdrv1.Operator{Name: "karl", Role: "operator"})
	must(t, err)
	want(karl, "Unauthenticated")
	want(s.dialToken(t, second.GetAccessToken()), "karl operator token")
	list, err := ada.ListOperators(patience(t), &ktrdrv1.ListOperatorsRequest{})
	must(t, err)
	if o := list.GetOperators()[1]; o.GetEmail() != "karl@example.org" || o.GetRole() != "operator" || o.GetCreatedBy() != "operator/ada" {
		t.Errorf("karl is %v", o)
	}
	_, err = ada.RemoveOperator(patience(t), &ktrdrv1.RemoveOperatorRequest{Name: "karl"})
	must(t, err)
	want(s.dialToken(t, second.GetAccessToken()), "Unauthenticated")
	if _, err = ada.RemoveOperator(patience(t), &ktrdrv1.RemoveOperatorRequest{Name: "karl"}); status.Code(err) != codes.NotFound || status.Convert(err).Message() != `there is no operator "karl"` {
		t.Errorf("removed twice: %v", err)
	}
}

func TestOperatorWithCertificate(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	k := keys(t)
	csr, err := k.Request()
	must(t, err)
	answer, err := ada.CreateOperator(patience(t), &ktrdrv1.CreateOperatorRequest{Operator: &ktrdrv1.Operator{Name: "karl", Role: "operator"}, Csr: csr})
	must(t, err)
	if answer.GetAccessToken() != "" {
		t.Error("a token was made as well")
	}
	c, err := k.Install(pki.Grant{Kind: pki.Operator, Name: "karl", Chain: answer.GetChain(), Authorities: answer.GetAuthority()})
	must(t, err)
	client := ktrdrv1.NewAccessServiceClient(s.dial(t, c))
	if got := s.role(t, client); got != "karl operator certificate" {
		t.Errorf("the caller is %q", got)
	}
	if _, _, err := wire.Renew(patience(t), s.dial(t, c), k); err == nil {
		t.Error("an operator renewed as a node does")
	}
	_, err = ktrdrv1.NewEnrollmentServiceClient(s.dial(t, c)).Renew(patience(t), &ktrdrv1.RenewRequest{Csr: csr})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator asked for a node's certificate: %v", err)
	}
	must(t, s.service.Remove(t.Context(), "karl"))
	if got := s.role(t, client); got != "Unauthenticated" {
		t.Errorf("a removed operator is %q", got)
	}
}

func TestOperatorsThatCannotBe(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	for name, o := range map[string]*ktrdrv1.Operator{
		"no name":          {Role: "viewer"},
		"a path":           {Name: "../x", Role: "viewer"},
		"no role":          {Name: "karl"},
		"unknown role":     {Name: "karl", Role: "root"},
		"node as role":     {Name: "karl", Role: "node"},
		"no address":       {Name: "karl", Role: "viewer", Email: "karl"},
		"address and name": {Name: "karl", Role: "viewer", Email: "Karl <karl@example.org>"},
		"line in address":  {Name: "karl", Role: "viewer", Email: "karl@example.org\n"},
		"over already":     {Name: "karl", Role: "viewer", Expires: wire.Timestamp(time.Unix(1, 0))},
		"last admin":       {Name: "ada", Role: "viewer"},
	} {
		if _, err := ada.CreateOperator(patience(t), &ktrdrv1.CreateOperatorRequest{Operator: o}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ada.RemoveOperator(patience(t), &ktrdrv1.RemoveOperatorRequest{Name: "ada"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the last admin was removed: %v", err)
	}
	if got := s.role(t, ada); got != "ada admin token" {
		t.Errorf("the admin is %q", got)
	}
}

// TestNoSecretIsKept looks for tokens in all that a controller writes.
func TestNoSecretIsKept(t *testing.T) {
	s := serve(t)
	ada, token := s.admin(t)
	join := s.token(t, "b")
	_, err := s.join(t, join, keys(t))
	must(t, err)
	_, err = s.join(t, join, keys(t))
	if err == nil {
		t.Error("a token was used twice")
	}
	page, err := ada.ListAudit(patience(t), &ktrdrv1.ListAuditRequest{})
	must(t, err)
	var whats []string
	for _, e := range page.GetEntries() {
		whats = append(whats, e.GetWho()+" "+e.GetWhat()+" "+e.GetTarget()+" "+e.GetResult())
	}
	if got := strings.Join(whats, "\n"); !strings.Contains(got, "anonymous EnrollmentService/Join node=b ok") || !strings.Contains(got, "anonymous EnrollmentService/Join node=b Unauthenticated") {
		t.Errorf("the trail is\n%s", got)
	}
	var kept bytes.Buffer
	must(t, s.store.Snapshot(t.Context(), &kept))
	for where, text := range map[string]string{"store": kept.String(), "log": s.logged()} {
		for _, secret := range []string{join.Secret(), token.Secret()} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s has the secret of a token", where)
			}
		}
	}
	if !strings.Contains(kept.String(), join.Hash()) {
		t.Error("the snapshot does not even have the hash: this test looks at the wrong thing")
	}
}

func TestAuditPages(t *testing.T) {
	s := serve(t)
	ada, _ := s.admin(t)
	for range 3 {
		_, _ = ada.RemoveOperator(patience(t), &ktrdrv1.RemoveOperatorRequest{Name: "nobody"})
	}
	first, err := ada.ListAudit(patience(t), &ktrdrv1.ListAuditRequest{Limit: 2})
	must(t, err)
	second, err := ada.ListAudit(patience(t), &ktrdrv1.ListAuditRequest{Limit: 2, Before: first.GetNext()})
	must(t, err)
	if len(first.GetEntries()) != 2 || len(second.GetEntries()) != 1 || second.GetNext() != "" {
		t.Errorf("pages have %d and %d entries, next %q", len(first.GetEntries()), len(second.GetEntries()), second.GetNext())
	}
	if _, err := ada.ListAudit(patience(t), &ktrdrv1.ListAuditRequest{Before: "../../x"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a cursor of nonsense: %v", err)
	}
}
