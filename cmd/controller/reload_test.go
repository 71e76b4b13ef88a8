package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// serves is the serial number of the certificate that a new connection is shown, when the
// authority in it is the given one.
func (s *site) serves(authority []byte) (string, error) {
	s.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		s.t.Fatal("the authority is no certificate")
	}
	config := wire.TrustTLS(roots)
	config.ServerName = "127.0.0.1"
	conn, err := (&tls.Dialer{Config: config}).DialContext(s.t.Context(), "tcp", s.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // it was only looked at
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", fmt.Errorf("the connection is a %T", conn)
	}
	return secure.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// TestReloadRefusesAnotherAuthority: a running controller whose authority's files were replaced
// by those of another fleet says so and keeps the identity that it has, for agents, operators
// and who joins.
func TestReloadRefusesAnotherAuthority(t *testing.T) {
	s := newSite(t)
	a := &agenttest.Agent{Name: "a"}
	s.agent(a)
	s.await("a is connected, and was greeted", func() bool { _, greeted := a.Received(); return s.connected() == 1 && greeted > 0 })
	before, err := s.serves(s.authority)
	must(t, err)
	files := map[string][]byte{}
	place := filepath.Join(s.dir, "state", "authority")
	for _, name := range []string{pki.CertFile, pki.KeyFile} {
		files[name], err = os.ReadFile(filepath.Join(place, name))
		must(t, err)
	}
	reload := func(content func(name string) []byte) {
		for name := range files {
			must(t, os.WriteFile(filepath.Join(place, name), content(name), 0o600))
		}
		must(t, s.process.Process.Signal(syscall.SIGHUP))
	}

	other := t.TempDir()
	foreign, err := pki.Create(other)
	must(t, err)
	reload(func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(other, name))
		must(t, err)
		return text
	})
	s.await("the refusal is in the log, or the certificate another one", func() bool {
		now, err := s.serves(s.authority)
		return err != nil || now != before || strings.Contains(s.logged(), "certificate is not renewed")
	})
	for _, want := range []string{"level=ERROR", "the fleet in this store has another authority: this one is " + foreign.Pin().String(), "Copy ca.crt and ca.key from a controller of this fleet"} {
		if !strings.Contains(s.logged(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if now, err := s.serves(s.authority); err != nil || now != before {
		t.Errorf("a new connection is shown certificate %s, before %s: %v", now, before, err)
	}
	if now, err := s.serves(foreign.BundlePEM()); err == nil {
		t.Errorf("the certificate %s is of the other authority", now)
	}
	if _, err := ktrdrv1.NewFleetServiceClient(s.dial(s.token)).GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); err != nil {
		t.Errorf("an operator calls: %v", err)
	}
	_, greeted := a.Received()
	a.Drop()
	s.agent(&agenttest.Agent{Name: "b"}) // joins: its certificate is of the authority that is served
	s.await("a is back, and b is there", func() bool {
		_, now := a.Received()
		return now > greeted && s.connected() == 2
	})

	// The fleet's own files are read again without a restart.
	reload(func(name string) []byte { return files[name] })
	s.await("there is a new certificate", func() bool {
		now, err := s.serves(s.authority)
		return err == nil && now != before
	})
}
