package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// sshDialer opens sessions over ssh. The library's own transport ignores contexts once it is connected, and leaves
// goroutines behind on a server that stopped answering; this one owns the connection, and closes it when ctx ends,
// which ends everything that waits for it.
type sshDialer struct {
	auth SSHAuth
	ep   *transport.Endpoint
}

func (d sshDialer) dial(ctx context.Context) (transport.UploadPackSession, []string, error) {
	s, err := d.run(ctx, "git-upload-pack")
	if err != nil {
		return nil, nil, err
	}
	return s, nil, nil
}

func (d sshDialer) dialPush(ctx context.Context) (transport.ReceivePackSession, []string, error) {
	s, err := d.run(ctx, "git-receive-pack")
	if err != nil {
		return nil, nil, err
	}
	return s, nil, nil
}

// run starts a program of git on the server.
func (d sshDialer) run(ctx context.Context, program string) (*sshSession, error) {
	port := d.ep.Port
	if port == 0 {
		port = 22
	}
	addr := net.JoinHostPort(strings.Trim(d.ep.Host, "[]"), strconv.Itoa(port))
	config, err := d.config(addr)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := handshake(conn, addr, config)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	s := &sshSession{client: client, stop: stop}
	if err := s.start(program + " " + quote(d.ep.Path)); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return s, nil
}

func handshake(conn net.Conn, addr string, config *ssh.ClientConfig) (*ssh.Client, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// config reads key and known_hosts at every connection, so that rotated ones are used at once.
func (d sshDialer) config(addr string) (*ssh.ClientConfig, error) {
	signer, err := readKey(d.auth.KeyFile)
	if err != nil {
		return nil, err
	}
	hosts, err := knownhosts.NewDB(d.auth.KnownHostsFile)
	if err != nil {
		return nil, fail(ReasonInvalid, "read known hosts: %w", err)
	}
	user := d.ep.User
	if user == "" {
		user = "git"
	}
	return &ssh.ClientConfig{
		User: user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// Only what the file has is asked for; else a server could show a key of another kind than the known one.
		HostKeyAlgorithms: hosts.HostKeyAlgorithms(addr),
		HostKeyCallback:   hosts.HostKeyCallback(),
	}, nil
}

func readKey(name string) (ssh.Signer, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fail(ReasonAuthentication, "read ssh key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fail(ReasonInvalid, "ssh key %s can be read by everybody; chmod 600 it", name)
	}
	data, err := readSmall(name)
	if err != nil {
		return nil, fail(ReasonAuthentication, "read ssh key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fail(ReasonInvalid, "ssh key %s has a passphrase; use a deploy key without one", name)
	case err != nil:
		return nil, fail(ReasonInvalid, "ssh key %s is no private key in PEM or OpenSSH format", name)
	}
	return signer, nil
}

// quote is what git itself does to the path in the remote command.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

func (d sshDialer) explain(err error) error {
	var key *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	host := d.ep.Host
	switch {
	case errors.As(err, &key) && len(key.Want) == 0:
		return fail(ReasonHostKeyUnknown, "%s has no key of %s; get it with ssh-keyscan, compare its fingerprint and add it", d.auth.KnownHostsFile, host)
	case errors.As(err, &key):
		return fail(ReasonHostKeyMismatch, "%s shows another key than %s has; somebody may be listening. If the host really got a new key, replace the old one there", host, d.auth.KnownHostsFile)
	case errors.As(err, &revoked):
		return fail(ReasonHostKeyMismatch, "the key of %s is revoked in %s", host, d.auth.KnownHostsFile)
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fail(ReasonHostKeyMismatch, "%s has no key of a kind that %s has; compare with ssh-keyscan and add it", host, d.auth.KnownHostsFile)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fail(ReasonAuthentication, "the server refuses the key %s; add its public half to the repository's deploy keys", d.auth.KeyFile)
	default:
		return fail(ReasonUnreachable, "check that the server is up and reachable: %w", err)
	}
}

func (sshDialer) close() {}

// sshSession speaks git's protocol version 0 with one git-upload-pack.
type sshSession struct {
	client  *ssh.Client
	session *ssh.Session
	stop    func() bool
	in      io.WriteCloser
	out     io.Reader
	said    lastWords
}

func (s *sshSession) start(command string) (err error) {
	if s.session, err = s.client.NewSession(); err != nil {
		return err
	}
	if s.in, err = s.session.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.session.StdoutPipe(); err != nil {
		return err
	}
	s.session.Stderr = &s.said
	return s.session.Start(command)
}

// AdvertisedReferences implements transport.UploadPackSession.
func (s *sshSession) AdvertisedReferences() (*packp.AdvRefs, error) {
	return s.AdvertisedReferencesContext(context.Background())
}

// AdvertisedReferencesContext implements transport.UploadPackSession. The session's own context bounds it.
func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(io.LimitReader(s.out, maxAdvertisement))
	var line *pktline.ErrorLine
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && adv.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput), errors.As(err, &line):
		return nil, s.refusal(line)
	case err != nil:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(adv.Capabilities)
	return adv, nil
}

// refusal is what the server said in place of references. Servers have no common way to say "not found".
func (s *sshSession) refusal(line *pktline.ErrorLine) error {
	said := ""
	if line != nil {
		said = line.Text
	} else {
		// The command has to be over before all of stderr is here. How it ended says less than that.
		_ = s.session.Wait()
		said = s.said.String()
	}
	lower := strings.ToLower(said)
	for _, phrase := range []string{"not found", "does not appear to be a git", "does not exist", "no such", "could not be found", "access denied"} {
		if strings.Contains(lower, phrase) {
			return fail(ReasonRepositoryNotFound, "the server says %q; check the URL, and that the key may read this repository", printable(said))
		}
	}
	return fail(ReasonUnreachable, "the server sends no references and says %q", printable(said))
}

// UploadPack implements transport.UploadPackSession.
func (s *sshSession) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if err := req.UploadRequest.Encode(s.in); err != nil {
		return nil, err
	}
	if err := req.UploadHaves.Encode(s.in, false); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(s.in).EncodeString("done\n"); err != nil {
		return nil, err
	}
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(io.NopCloser(s.out)); err != nil {
		return nil, err
	}
	return res, nil
}

// Close implements transport.UploadPackSession. It takes the connection away from a server that is still sending.
func (s *sshSession) Close() error {
	s.stop()
	err := s.client.Close()
	// Closing the connection is what ends the goroutines behind it; how they ended is no news.
	_ = s.client.Wait()
	return err
}

// lastWords keeps the start of what a server writes to stderr.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[:min(len(p), 1024-len(l.text))]...)
	return len(p), nil
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
