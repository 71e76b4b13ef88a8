package remote_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
)

// TestSlowRefusal: a controller that takes its time to refuse a certificate is not said to have
// ended the connection.
func TestSlowRefusal(t *testing.T) {
	made := httptest.NewTLSServer(nil) // its certificate
	defer made.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate().Raw})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: made.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
		VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
			time.Sleep(1500 * time.Millisecond)
			return errors.New("it was revoked")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	})
	defer serving.Wait()
	defer l.Close()
	key, err := x509.MarshalPKCS8PrivateKey(made.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := remote.Dial(remote.Config{
		Addresses: []string{l.Addr().String()}, Authority: authority, Certificate: authority, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Explain(t.Context(), status.Error(codes.Unavailable, "the connection ended"))
	if away, ok := errors.AsType[*remote.UnreachableError](err); !ok || !strings.Contains(away.Why, "does not accept your certificate") {
		t.Errorf("it refuses, and that is told as %v", err)
	}
}
