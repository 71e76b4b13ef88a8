package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Folder is a folder that has to have room.
type Folder struct {
	Path, Purpose string
	// Memory says that it must not be on a disk.
	Memory bool
}

// Certificate is a file with certificates in PEM; the first one counts.
type Certificate struct {
	Path, Purpose string
	// Warn is how long before its end it is worth a warning; 0: 14 days.
	Warn time.Duration
}

// source tells of the last look at the desired state's source.
func (c *Config) source(_ context.Context, _ Request, emit func(api.Check)) {
	if c.Source == nil {
		return
	}
	at, bad := c.Source()
	switch {
	case bad != nil:
		emit(fixed(row("source", "", api.CheckFail, "%s: %s", bad.Reason, bad.Message), "the last good state stays in force until this is mended; docs/spec/conditions.md explains the reason"))
	case at.IsZero():
		emit(row("source", "", api.CheckSkip, "not looked at yet"))
	default:
		emit(row("source", "", api.CheckOK, "looked at %s ago", time.Since(at).Round(time.Second)))
	}
}

// policy tells whether the node bounds what desired state may ask, and what it has against it.
func (c *Config) policy(ctx context.Context, req Request, emit func(api.Check)) {
	if c.PolicyStatus == nil {
		return
	}
	st := c.PolicyStatus()
	if !st.Enforced {
		emit(fixed(row("policy", "", api.CheckWarn, "the node accepts whatever the desired state asks for"), "write a policy file and name it as policyFile in the agent's configuration (docs/spec/policy.md)"))
	} else {
		emit(row("policy", st.File, api.CheckOK, "in force since %s", st.LoadedAt.UTC().Format(time.RFC3339)))
	}
	if req.Desired == nil || c.Policy == nil {
		return
	}
	for i := range req.Desired.Stacks {
		for _, denied := range c.Policy(ctx, req.Desired, &req.Desired.Stacks[i]) {
			emit(fixed(row("policy", req.Desired.Stacks[i].Name, api.CheckFail, "%s", denied.Message), "allow it in %s, or change the desired state", st.File))
		}
	}
}

// soon is how long before its end a certificate or token is worth a warning.
const soon = 14 * 24 * time.Hour

func (c *Config) certificates(_ context.Context, _ Request, emit func(api.Check)) {
	for _, cert := range c.Certificates {
		emit(certificate(cert, time.Now()))
	}
}

// maxPEM bounds a file of certificates, in bytes.
const maxPEM = 1 << 20

func certificate(c Certificate, now time.Time) api.Check {
	leaf, err := firstCertificate(c.Path)
	if err != nil {
		return fixed(row("certificate", c.Path, api.CheckFail, "%s: %v", c.Purpose, err), "write certificates in PEM there, readable for the agent")
	}
	warn := c.Warn
	if warn == 0 {
		warn = soon
	}
	end := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		return fixed(row("certificate", c.Path, api.CheckFail, "%s: ended %s", c.Purpose, end), "renew it")
	case now.Before(leaf.NotBefore):
		return fixed(row("certificate", c.Path, api.CheckFail, "%s: good only from %s", c.Purpose, leaf.NotBefore.UTC().Format(time.RFC3339)), "is the clock right?")
	case left < warn:
		return fixed(row("certificate", c.Path, api.CheckWarn, "%s: ends %s, in %s", c.Purpose, end, days(left)), "renew it")
	default:
		return row("certificate", c.Path, api.CheckOK, "%s: good until %s, %s", c.Purpose, end, days(left))
	}
}

func firstCertificate(path string) (*x509.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPEM {
		return nil, fmt.Errorf("%d bytes are more than %d", info.Size(), maxPEM)
	}
	data, err := os.ReadFile(path) //nolint:gosec // the agent's configuration names it
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, fmt.Errorf("no certificate in it")
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Hour).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
