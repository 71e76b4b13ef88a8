package nodes_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/test/lab"
)

// serveSSH serves the repository by a real sshd on the network and returns the lines of
// the agent's source. The key and the known hosts are put on the machine.
func (n *node) serveSSH() (source string) {
	n.t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		n.t.Skip("SKIPPED: git over ssh needs openssh-server, which `make test` installs")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { //nolint:gosec // as Debian's start script makes it
		n.t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(n.home, name) }
	for _, name := range []string{"host", "client"} {
		if out, err := exec.CommandContext(n.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", in(name)).CombinedOutput(); err != nil { //nolint:gosec // fixed arguments
			n.t.Fatalf("ssh-keygen: %v %s", err, out)
		}
	}
	// The port was free a moment ago, and nobody else is on the network.
	listener, err := world.network.Listen()
	if err != nil {
		n.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil {
		n.t.Fatal(err)
	}
	config := strings.Join([]string{
		"Port " + port, "ListenAddress " + lab.Address, "HostKey " + in("host"), "AuthorizedKeysFile " + in("client.pub"),
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "StrictModes no", "PidFile none", "PermitRootLogin prohibit-password", "",
	}, "\n")
	if err := os.WriteFile(in("sshd_config"), []byte(config), 0o600); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := contextFor(time.Hour)
	cmd := world.network.Command(ctx, sshd, "-D", "-e", "-f", in("sshd_config"))
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	n.put("/etc/ktrdr/deploy_key", n.read(in("client")), 0o600)
	n.put("/etc/ktrdr/known_hosts", "["+lab.Address+"]:"+port+" "+n.read(in("host.pub")), 0o600)
	return "url: ssh://root@" + lab.Address + ":" + port + n.bare + "\nsshKeyFile: /etc/ktrdr/deploy_key\nknownHostsFile: /etc/ktrdr/known_hosts"
}

func (n *node) read(path string) string {
	n.t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // a file of the test
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

// gitToken is what the https server wants.
const gitToken = "git-token-81fa"

// serveHTTPS serves the repository over https with a token and returns the lines of the
// agent's source. The certificate and the token are put on the machine.
func (n *node) serveHTTPS() (source string) {
	n.t.Helper()
	path, err := exec.CommandContext(n.t.Context(), "git", "--exec-path").Output()
	if err != nil {
		n.t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: strings.TrimSpace(string(path)) + "/git-http-backend", Root: "/", Stderr: os.Stderr,
		Env: []string{"GIT_PROJECT_ROOT=" + n.home, "GIT_HTTP_EXPORT_ALL=1"},
	}
	listener, err := world.network.Listen()
	if err != nil {
		n.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pass, _ := r.BasicAuth(); pass != gitToken {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "login", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close()
	certificate, ca := n.certificate()
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	n.t.Cleanup(server.Close)
	n.put("/etc/ktrdr/ca.pem", ca, 0o600)
	n.put("/etc/ktrdr/git-token", gitToken+"\n", 0o600)
	return "url: " + server.URL + "/state.git\nusername: agent\ntokenFile: /etc/ktrdr/git-token\ncaFile: /etc/ktrdr/ca.pem"
}

// certificate is for the test's address on the network.
func (n *node) certificate() (certificate tls.Certificate, ca string) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(lab.Address)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
