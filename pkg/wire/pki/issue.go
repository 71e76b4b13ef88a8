package pki

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Issued is a new certificate.
type Issued struct {
	Leaf *x509.Certificate
	// Chain is the leaf and its issuer, in DER.
	Chain  [][]byte
	Serial string
}

// IssueNode signs a certificate for a node with the key of a signing request.
func (a *Authority) IssueNode(name string, csr []byte) (*Issued, error) {
	return a.issueClient(Node, name, csr)
}

// IssueOperator signs a certificate for an operator with the key of a signing request. The
// certificate does not tell the operator's role: that one is changed without a new one.
func (a *Authority) IssueOperator(name string, csr []byte) (*Issued, error) {
	return a.issueClient(Operator, name, csr)
}

func (a *Authority) issueClient(kind Kind, name string, csr []byte) (*Issued, error) {
	if err := CheckName(kind, name); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	key, err := ParseCSR(csr)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s %s: %w", kind, name, err)
	}
	issued, err := a.sign(key, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{identityURI(kind, name)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s %s: %w", kind, name, err)
	}
	return issued, nil
}

// IssueController makes a key and a certificate with which a controller calls the others.
func (a *Authority) IssueController(id string) (tls.Certificate, error) {
	if err := CheckName(Controller, id); err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := a.issueOwn(&x509.Certificate{
		Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{identityURI(Controller, id)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate of controller %s: %w", id, err)
	}
	return cert, nil
}

// IssueServer makes a key and a certificate for a controller that is reached by these host
// names and addresses. The chain includes the authority, which pinning needs.
func (a *Authority) IssueServer(names []string, ips []netip.Addr) (tls.Certificate, error) {
	template, err := serverTemplate(names, ips)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	cert, err := a.issueOwn(template)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	return cert, nil
}

// issueOwn makes a key that stays in this process, and its certificate.
func (a *Authority) issueOwn(template *x509.Certificate) (tls.Certificate, error) {
	private, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := keyOf(private.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	issued, err := a.sign(key, template)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: issued.Chain, PrivateKey: private, Leaf: issued.Leaf}, nil
}

func serverTemplate(names []string, ips []netip.Addr) (*x509.Certificate, error) {
	if len(names)+len(ips) == 0 {
		return nil, errors.New("name at least one host name or address by which agents reach the controller")
	}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if !hostName.MatchString(name) || len(name) > maxHostName {
			return nil, fmt.Errorf("%.80q is no host name", name)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	for _, ip := range ips {
		if !ip.IsValid() || ip.IsUnspecified() || ip.Zone() != "" {
			return nil, fmt.Errorf("%q is no address that others can reach", ip)
		}
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.Unmap().AsSlice()))
	}
	template.Subject.CommonName = "ktrdr-controller"
	return template, nil
}

// sign fills in what all leaves share.
func (a *Authority) sign(key Key, template *x509.Certificate) (*Issued, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	template.SerialNumber = serial
	template.NotBefore = now.Add(-Skew)
	template.NotAfter = now.Add(a.lifetime)
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	if !template.NotAfter.After(now) {
		return nil, fmt.Errorf("the authority ended on %s", a.cert.NotAfter.Format(time.DateOnly))
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read signed certificate: %w", err)
	}
	return &Issued{Leaf: leaf, Chain: [][]byte{der, a.cert.Raw}, Serial: serialText(serial)}, nil
}
