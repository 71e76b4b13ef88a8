package wire_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/wire"
)

func get(t *testing.T, config *tls.Config, url string) (string, error) {
	t.Helper()
	// ForceAttemptHTTP2 makes it offer h2 and http/1.1, as browsers and git do.
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestOnePortForBoth(t *testing.T) {
	f := serve(t, wire.DefaultPortLimits())
	b := node(t, f.authority, "b")

	must(t, check(t, f.dial(t, wire.TrustTLS(f.authority.Pool()))))
	must(t, check(t, f.dial(t, wire.ClientTLS(b))))
	got, err := get(t, wire.ClientTLS(b), "https://"+f.addr)
	if err != nil || got != "HTTP/1.1 ktrdr://node/b" {
		t.Errorf("HTTP with a certificate: %q, %v", got, err)
	}
	got, err = get(t, wire.TrustTLS(f.authority.Pool()), "https://"+f.addr)
	if err != nil || got != "HTTP/1.1 nobody" {
		t.Errorf("HTTP without a certificate: %q, %v", got, err)
	}
	// No ALPN at all, as old tools do.
	conn, err := tls.Dial("tcp", f.addr, wire.TrustTLS(f.authority.Pool()))
	must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	must(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.0 200") {
		t.Errorf("without ALPN: %q, %v", line, err)
	}
}

// TestCurl is another implementation of TLS and ALPN than Go's.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	f := serve(t, wire.DefaultPortLimits())
	ca := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(ca, f.authority.BundlePEM(), 0o600))
	out, err := exec.CommandContext(t.Context(), curl, "-sS", "--noproxy", "*", "--cacert", ca, "https://"+f.addr+"/").CombinedOutput()
	if err != nil || string(out) != "HTTP/1.1 nobody" {
		t.Errorf("curl: %q, %v", out, err)
	}
}

// TestPlainHTTP: who leaves the s out is told so.
func TestPlainHTTP(t *testing.T) {
	f := serve(t, wire.DefaultPortLimits())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.addr+"/git/desired-state.git/info/refs", nil)
	must(t, err)
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	answer, err := client.Do(req)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "write https://") {
		t.Errorf("%s %q, %v", answer.Status, text, err)
	}
}

func TestForeignPeersAreRefused(t *testing.T) {
	f := serve(t, wire.DefaultPortLimits())
	stranger := node(t, authority(t), "b")
	config := wire.TrustTLS(f.authority.Pool())
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.Certificate, nil }
	if err := check(t, f.dial(t, config)); err == nil {
		t.Error("a node of another fleet made a call")
	}
	if _, err := get(t, config, "https://"+f.addr); err == nil {
		t.Error("a node of another fleet got an answer over HTTP")
	}
	if err := check(t, f.dial(t, wire.ClientTLS(stranger))); err == nil {
		t.Error("an agent took another fleet's controller for its own")
	}
	old := wire.TrustTLS(f.authority.Pool())
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := get(t, old, "https://"+f.addr); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

// TestSlowPeersKeepNobodyOut opens connections that never say anything.
func TestSlowPeersKeepNobodyOut(t *testing.T) {
	limits := wire.DefaultPortLimits()
	limits.Handshake = time.Hour
	slow := serve(t, limits)
	slow.silent(t, 50)
	must(t, check(t, slow.dial(t, wire.TrustTLS(slow.authority.Pool()))))

	limits.Handshake = 500 * time.Millisecond
	for _, conn := range serve(t, limits).silent(t, 50) {
		if err := closed(conn); err != nil {
			t.Fatalf("a silent connection is still open: %v", err)
		}
	}
}

// TestManySlowPeersKeepNobodyOut takes all places of the handshake, for longer than anybody
// waits.
func TestManySlowPeersKeepNobodyOut(t *testing.T) {
	limits := wire.DefaultPortLimits()
	limits.Handshake, limits.Handshakes = time.Hour, 20
	f := serve(t, limits)
	silent := f.silent(t, 40)
	for i := range 20 {
		if err := closed(silent[i]); err != nil {
			t.Fatalf("connection %d is still open: %v", i, err)
		}
	}
	for range 30 {
		must(t, check(t, f.dial(t, wire.ClientTLS(node(t, f.authority, "b")))))
	}
}

// silent opens connections that say nothing.
func (f *fleet) silent(t *testing.T, count int) []net.Conn {
	t.Helper()
	var conns []net.Conn
	for range count {
		conn, err := net.DialTimeout("tcp", f.addr, patience)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// closed waits until the peer closes a connection.
func closed(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return nil
}

// TestStrangersKeepNoNodeOut fills all places that strangers have.
func TestStrangersKeepNoNodeOut(t *testing.T) {
	limits := wire.DefaultPortLimits()
	limits.StrangersPerAddr = 4
	f := serve(t, limits)
	config := wire.TrustTLS(f.authority.Pool())
	config.NextProtos = []string{"http/1.1"}
	open := func() (*tls.Conn, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", f.addr, config)
		if err != nil {
			return nil, err
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return conn, err
		}
		_, err = conn.Read(make([]byte, 1))
		return conn, err
	}
	var conns []*tls.Conn
	// Nodes don't count once they have proved who they are.
	for range 6 {
		must(t, check(t, f.dial(t, wire.ClientTLS(node(t, f.authority, "b")))))
	}
	for i := range 4 {
		conn, err := open()
		if err != nil {
			t.Fatalf("stranger %d: %v", i, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	if _, err := open(); err == nil {
		t.Fatal("a fifth connection of strangers was let in")
	}
	// A place that was left can be taken.
	must(t, conns[0].Close())
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := open()
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one left: %v", err)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	limits := wire.DefaultPortLimits()
	limits.Connections = 3
	f := serve(t, limits)
	b := node(t, f.authority, "b")
	first := f.dial(t, wire.ClientTLS(b))
	must(t, check(t, first))
	for range 2 {
		must(t, check(t, f.dial(t, wire.ClientTLS(b))))
	}
	last := f.dial(t, wire.ClientTLS(b))
	if err := check(t, last); err == nil {
		t.Error("a fourth connection was let in")
	}
	must(t, first.Close())
	for deadline := time.Now().Add(patience); check(t, last) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place of a connection that was closed is not free")
		}
	}
}

func TestServerIdentityIsReplacedWhileOpen(t *testing.T) {
	f := serve(t, wire.DefaultPortLimits())
	before := f.dial(t, wire.ClientTLS(node(t, f.authority, "b")))
	must(t, check(t, before))

	next := authority(t)
	both := f.authority.Pool()
	both.AddCert(parse(t, next.BundleDER()))
	f.identity.Replace(serverCert(t, next), both)
	if err := check(t, before); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	if err := check(t, f.dial(t, wire.TrustTLS(next.Pool()))); err != nil {
		t.Errorf("a client that trusts the new authority: %v", err)
	}
	if err := check(t, f.dial(t, wire.TrustTLS(f.authority.Pool()))); err == nil {
		t.Error("the old certificate is still shown")
	}
	fromOld := wire.TrustTLS(next.Pool())
	fromOld.Certificates = wire.ClientTLS(node(t, f.authority, "b")).Certificates
	if err := check(t, f.dial(t, fromOld)); err != nil {
		t.Errorf("a node with a certificate of the old authority: %v", err)
	}
	// Once the old authority is no longer trusted, nothing of it is good for a new connection.
	f.identity.Replace(serverCert(t, next), next.Pool())
	fromOld.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &fromOld.Certificates[0], nil }
	if err := check(t, f.dial(t, fromOld)); err == nil {
		t.Error("a node of an authority that is no longer trusted got in")
	}
}

func TestSessionsAreNotResumed(t *testing.T) {
	f := serve(t, wire.DefaultPortLimits())
	config := wire.ClientTLS(node(t, f.authority, "b"))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(10)
	config.ServerName = "127.0.0.1"
	for range 2 {
		conn, err := tls.Dial("tcp", f.addr, config)
		must(t, err)
		_, err = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		must(t, err)
		_, err = io.ReadAll(conn)
		must(t, err)
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		_ = conn.Close()
	}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}
