package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// Limits of what a peer sends. RSA keys have an upper bound because checking a signature
// of a huge one costs seconds.
const (
	maxCSR     = 8 << 10
	minRSABits = 2048
	maxRSABits = 4096
)

// Key is the public key of a signing request that proved to hold the private one.
type Key struct {
	public crypto.PublicKey
	spki   []byte
}

// Fingerprint is the SHA-256 of the key (its SubjectPublicKeyInfo) in hexadecimal.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256(k.spki)
	return hex.EncodeToString(sum[:])
}

// ParseCSR returns the key of a PKCS #10 request in DER. Names and extensions in it are
// ignored: what a certificate says is the issuer's decision. Keys must be ECDSA P-256 or
// P-384, Ed25519, or RSA of 2048 to 4096 bits.
func ParseCSR(der []byte) (Key, error) {
	if len(der) == 0 || len(der) > maxCSR {
		return Key{}, fmt.Errorf("read signing request: it has %d bytes, want 1 to %d", len(der), maxCSR)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return Key{}, errors.New("read signing request: it is no PKCS #10 request in DER")
	}
	if err := checkKey(req.PublicKey); err != nil {
		return Key{}, fmt.Errorf("read signing request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return Key{}, errors.New("read signing request: its signature is not by its own key")
	}
	return keyOf(req.PublicKey)
}

func keyOf(public crypto.PublicKey) (Key, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("encode public key: %w", err)
	}
	return Key{public: public, spki: spki}, nil
}

func checkKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return fmt.Errorf("an ECDSA key must be on P-256 or P-384, not %s", key.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("an RSA key must have %d to %d bits, not %d", minRSABits, maxRSABits, bits)
		}
	default:
		return errors.New("the key must be ECDSA P-256 or P-384, Ed25519, or RSA")
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// newCSR makes a request that proves to hold the key and names nobody.
func newCSR(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make signing request: %w", err)
	}
	return der, nil
}
