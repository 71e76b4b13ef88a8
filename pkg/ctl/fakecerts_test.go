package ctl_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// cmdBadCert makes the context lead to a server with another certificate.
func cmdBadCert(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts).controller
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	authority, names := f.authority, []string{"localhost"}
	switch args[0] {
	case "other-authority":
		other, err := pki.Create(ts.MkAbs("other"))
		ts.Check(err)
		authority = other
	case "other-name":
		local = nil
	case "ended":
		authority = authority.WithClock(func() time.Time { return time.Now().Add(-40 * 24 * time.Hour) })
	case "future":
		authority = authority.WithClock(func() time.Time { return time.Now().Add(time.Hour) })
	case "none":
		local, names = nil, []string{"elsewhere"}
	}
	cert, err := authority.IssueServer(names, local)
	ts.Check(err)
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	if args[0] != "plain" {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	}
	ts.Defer(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if secured, ok := conn.(*tls.Conn); ok {
					_ = secured.Handshake()
					return
				}
				fmt.Fprint(conn, "SSH-2.0-OpenSSH_9.2\r\n")
			}()
		}
	}()
	good := f.address
	f.address = l.Addr().String()
	f.writeConfig(ts, adminToken)
	f.address = good
}

// cmdClient makes the context show a certificate.
func cmdClient(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts).controller
	authority := f.authority
	switch args[0] {
	case "ended":
		authority = authority.WithClock(func() time.Time { return time.Now().Add(-40 * 24 * time.Hour) })
	case "inline-old", "file-old": // 21 of 30 days are over
		authority = authority.WithClock(func() time.Time { return time.Now().Add(-21 * 24 * time.Hour) })
	case "inline-ending":
		authority = authority.WithClock(func() time.Time { return time.Now().Add(-27 * 24 * time.Hour) })
	case "foreign":
		other, err := pki.Create(ts.MkAbs("foreign"))
		ts.Check(err)
		authority = other
	}
	key, csr := request(ts)
	issued, err := authority.IssueOperator("karl", csr)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("operator.crt"), pemOf("CERTIFICATE", issued.Leaf.Raw), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("operator.key"), key, 0o600))
	f.writeConfig(ts, "")
	text := fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Config\ncurrent: home\ncontexts:\n- name: home\n  controller: https://%s\n"+
		"  authorityFile: ca.pem\n  certificateFile: operator.crt\n  keyFile: operator.key\n", f.address)
	if strings.HasPrefix(args[0], "inline") {
		encode := base64.StdEncoding.EncodeToString
		text = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Config\ncurrent: home\ncontexts:\n- name: home\n  controller: https://%s\n"+
			"  authority: %s\n  certificate: %s\n  key: %s\n", f.address, encode(f.authority.BundlePEM()), encode(pemOf("CERTIFICATE", issued.Leaf.Raw)), encode(key))
	}
	ts.Check(os.WriteFile(ts.MkAbs("config"), []byte(text), 0o600))
}

// RenewAccess gives whoever asks the next certificate.
func (f *fakeFleet) RenewAccess(_ context.Context, req *ktrdrv1.RenewAccessRequest) (*ktrdrv1.RenewAccessResponse, error) {
	issued, err := f.authority.IssueOperator("karl", req.GetCsr())
	if err != nil {
		return nil, err
	}
	return &ktrdrv1.RenewAccessResponse{Chain: issued.Chain, Authority: f.authority.BundleDER()}, nil
}

// cmdHang makes the controller answer WhoAmI never.
func cmdHang(ts *testscript.TestScript, _ bool, _ []string) {
	f := fleetOf(ts).controller
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs = true
}

// request makes a key, as PEM, and a request for a certificate.
func request(ts *testscript.TestScript) (key, csr []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	ts.Check(err)
	return pemOf("PRIVATE KEY", der), csr
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
