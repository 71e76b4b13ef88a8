package enroll_test

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestRenew: the certificate before is good until the new one was used.
func TestRenew(t *testing.T) {
	s := serve(t)
	k, first := s.joined(t, "b")
	second, _, err := wire.Renew(patience(t), s.dial(t, first), k)
	must(t, err)
	if second.Identity.Serial == first.Identity.Serial || second.Identity.Name != "b" {
		t.Errorf("renewed %v to %v", first.Identity, second.Identity)
	}
	if _, err := s.whoAmI(t, first); err != nil {
		t.Errorf("the first one before the second was used: %v", err)
	}
	if _, err := s.whoAmI(t, second); err != nil {
		t.Errorf("the second one: %v", err)
	}
	if _, err := s.whoAmI(t, first); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the first one after the second was used: %v", err)
	}
}

// TestRenewalThatGotLost: the node never got the second one and asks again with the first.
func TestRenewalThatGotLost(t *testing.T) {
	s := serve(t)
	k, first := s.joined(t, "b")
	client := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, first))
	csr, err := k.Request()
	must(t, err)
	lost, err := client.Renew(patience(t), &ktrdrv1.RenewRequest{Csr: csr})
	must(t, err)
	third, _, err := wire.Renew(patience(t), s.dial(t, first), k)
	must(t, err)
	// Nobody can use the lost one any more, though its key is the same.
	stolen := *third
	stolen.Certificate.Certificate = lost.GetChain()
	if _, err := s.whoAmI(t, &stolen); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the lost certificate: %v", err)
	}
	if _, err := s.whoAmI(t, first); err != nil {
		t.Errorf("the first certificate, before the third was used: %v", err)
	}
	if _, err := s.whoAmI(t, third); err != nil {
		t.Errorf("the third certificate: %v", err)
	}
}

func TestRenewNonsense(t *testing.T) {
	s := serve(t)
	_, c := s.joined(t, "b")
	_, err := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, c)).Renew(patience(t), &ktrdrv1.RenewRequest{Csr: []byte("x")})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("renew with nonsense: %v", err)
	}
	if _, err := s.whoAmI(t, c); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestRenewAcrossAuthorities replaces the authority as docs/spec/security.md says, with a
// node that is connected all the time.
func TestRenewAcrossAuthorities(t *testing.T) {
	s := serve(t)
	k, c := s.joined(t, "b")
	dir := t.TempDir()
	next, err := pki.Create(dir)
	must(t, err)
	old := s.authority.Load()

	both := s.load(t, next)

	// A node that does not know the new authority can't talk to its controller.
	s.replace(t, next)
	if _, err := s.whoAmI(t, c); err == nil {
		t.Error("the node trusts an authority that nobody told it of")
	}

	// Step 1: the old one signs, both are told.
	s.replace(t, both)
	c, _, err = wire.Renew(patience(t), s.dial(t, c), k)
	must(t, err)

	// Step 2: the new one signs, both are trusted.
	must(t, os.WriteFile(filepath.Join(dir, pki.CertFile), append(next.BundlePEM(), old.BundlePEM()...), 0o600))
	both, err = pki.Load(filepath.Join(dir, pki.CertFile), filepath.Join(dir, pki.KeyFile))
	must(t, err)
	s.replace(t, both)
	c, _, err = wire.Renew(patience(t), s.dial(t, c), k)
	must(t, err)

	// Step 3: only the new one is left.
	s.replace(t, next)
	if _, err := s.whoAmI(t, c); err != nil {
		t.Errorf("after the old authority is gone: %v", err)
	}
}

// load makes the first authority of a site trust the next one as well.
func (s *site) load(t *testing.T, next *pki.Authority) *pki.Authority {
	t.Helper()
	file := filepath.Join(s.dir, "both.crt")
	must(t, os.WriteFile(file, append(s.authority.Load().BundlePEM(), next.BundlePEM()...), 0o600))
	both, err := pki.Load(file, filepath.Join(s.dir, pki.KeyFile))
	must(t, err)
	return both
}
