package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files of an authority in its folder.
const (
	CertFile = "ca.crt"
	KeyFile  = "ca.key"
)

// How long certificates are good for. Peers' clocks may be behind by Skew.
const (
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	DefaultLifetime   = 30 * 24 * time.Hour
	Skew              = 5 * time.Minute
)

const serialBits = 128

// Authority signs the certificates of one fleet. It is immutable and for concurrent use:
// to change files, load another one.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// bundle is all that is trusted; cert is the first.
	bundle   []*x509.Certificate
	now      func() time.Time
	lifetime time.Duration
}

// Create makes an authority with a new ECDSA P-256 key and writes ca.crt (0644) and ca.key
// (0600) into dir, which it makes (0700). It is an error if either exists.
func Create(dir string) (*Authority, error) {
	a, key, err := generate(time.Now())
	if err != nil {
		return nil, fmt.Errorf("create authority: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create authority: %w", err)
	}
	// The key first: without a certificate next to it, it is no authority.
	if err := createFile(filepath.Join(dir, KeyFile), key, 0o600); err != nil {
		return nil, fmt.Errorf("create authority: %w", err)
	}
	if err := createFile(filepath.Join(dir, CertFile), a.BundlePEM(), 0o644); err != nil {
		return nil, fmt.Errorf("create authority: %w", errors.Join(err, os.Remove(filepath.Join(dir, KeyFile))))
	}
	return a, nil
}

func generate(now time.Time) (*Authority, []byte, error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ktrdr fleet authority " + serialText(serial)[:8]},
		NotBefore: now.Add(-Skew), NotAfter: now.Add(AuthorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 0, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read signed certificate: %w", err)
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, nil, err
	}
	return newAuthority([]*x509.Certificate{cert}, key), text, nil
}

func newAuthority(bundle []*x509.Certificate, key crypto.Signer) *Authority {
	return &Authority{cert: bundle[0], key: key, bundle: bundle, now: time.Now, lifetime: DefaultLifetime}
}

// Load reads an authority. The key file must belong to this process's user (or to root)
// and be closed to group and world. The certificate file may hold several certificates:
// the first is the key's, the others are trusted as well and told to peers, which is how
// an authority is replaced.
func Load(certFile, keyFile string) (*Authority, error) {
	bundle, err := readBundle(certFile)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	if !fits(bundle[0], key) {
		return nil, fmt.Errorf("load authority: the key in %s is not the one of the first certificate in %s", keyFile, certFile)
	}
	a := newAuthority(bundle, key)
	if now := a.now(); now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("load authority: %s ended on %s; make a new authority and let the nodes join again", certFile, a.cert.NotAfter.Format(time.DateOnly))
	}
	return a, nil
}

// WithLifetime returns an authority whose certificates for nodes, operators and servers
// are good for d from now on, and never longer than the authority itself.
func (a *Authority) WithLifetime(d time.Duration) *Authority {
	with := *a
	with.lifetime = d
	return &with
}

// WithClock returns an authority with another clock, for tests and simulations.
func (a *Authority) WithClock(now func() time.Time) *Authority {
	with := *a
	with.now = now
	return &with
}

// Pool returns all that is trusted.
func (a *Authority) Pool() *x509.CertPool { return pool(a.bundle) }

// BundlePEM returns all that is trusted as PEM blocks, as in ca.crt.
func (a *Authority) BundlePEM() []byte { return certsPEM(a.bundle) }

// BundleDER returns all that is trusted in DER, one certificate after the other, as peers
// are told.
func (a *Authority) BundleDER() []byte {
	var out []byte
	for _, cert := range a.bundle {
		out = append(out, cert.Raw...)
	}
	return out
}

// NotAfter is when the authority ends, and with it everything that it signed.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Pin is what a join token tells about the authority.
func (a *Authority) Pin() Pin { return pinOf(a.cert) }

// Pins are those of all that is trusted, the one that signs first.
func (a *Authority) Pins() []Pin {
	var out []Pin
	for _, cert := range a.bundle {
		out = append(out, pinOf(cert))
	}
	return out
}

// Pin is the SHA-256 of an authority's public key (SubjectPublicKeyInfo), as RFC 7469
// computes it.
type Pin [sha256.Size]byte

// String is the pin in base64url without padding.
func (p Pin) String() string { return base64.RawURLEncoding.EncodeToString(p[:]) }

func pinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

func newSerial() (*big.Int, error) {
	// RFC 5280 4.1.2.2: positive and at most 20 octets.
	for {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
		if err != nil {
			return nil, fmt.Errorf("make serial number: %w", err)
		}
		if serial.Sign() > 0 {
			return serial, nil
		}
	}
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, cert := range certs {
		p.AddCert(cert)
	}
	return p
}
