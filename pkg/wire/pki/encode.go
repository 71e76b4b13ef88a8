package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// PEM types.
const (
	certType = "CERTIFICATE"
	keyType  = "PRIVATE KEY"
)

// maxBundle and maxCertificates bound files and answers that hold certificates.
const (
	maxBundle       = 256 << 10
	maxCertificates = 20
)

func certsPEM(certs []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, cert := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certType, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der}), nil
}

// parseBundle reads certificates of authorities.
func parseBundle(data []byte) ([]*x509.Certificate, error) {
	certs, rest, err := parseCerts(data)
	switch {
	case err != nil:
		return nil, err
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is something that is no certificate")
	case len(certs) == 0:
		return nil, errors.New("there is no certificate")
	}
	return certs, checkAuthorities(certs)
}

// parseBundleDER reads what BundleDER writes.
func parseBundleDER(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("there are %d bytes of certificates, more than %d", len(data), maxBundle)
	}
	certs, err := x509.ParseCertificates(data)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read certificates: %w", err)
	case len(certs) == 0 || len(certs) > maxCertificates:
		return nil, fmt.Errorf("there are %d certificates, want 1 to %d", len(certs), maxCertificates)
	}
	return certs, checkAuthorities(certs)
}

func checkAuthorities(certs []*x509.Certificate) error {
	for _, cert := range certs {
		if !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("certificate %q is not one of an authority", cert.Subject)
		}
	}
	return nil
}

// parseCerts reads certificates up to the first block of another type, which rest begins
// with.
func parseCerts(data []byte) (certs []*x509.Certificate, rest []byte, err error) {
	if len(data) > maxBundle {
		return nil, nil, fmt.Errorf("there are %d bytes of certificates, more than %d", len(data), maxBundle)
	}
	rest = data
	for {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != certType {
			return certs, rest, nil
		}
		if len(certs) == maxCertificates {
			return nil, nil, fmt.Errorf("there are more than %d certificates", maxCertificates)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("read certificate %d: %w", len(certs)+1, err)
		}
		certs, rest = append(certs, cert), after
	}
}

// parseKey reads a private key; its errors quote nothing of it. rest is what follows.
func parseKey(data []byte) (key crypto.Signer, rest []byte, err error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != keyType {
		return nil, nil, errors.New("there is no PKCS #8 private key in PEM (-----BEGIN PRIVATE KEY-----)")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, errors.New("the private key is damaged")
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("the private key can't sign")
	}
	if err := checkKey(signer.Public()); err != nil {
		return nil, nil, err
	}
	return signer, rest, nil
}

// fits tells whether a certificate is for a key.
func fits(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}
