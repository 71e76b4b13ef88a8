package ctl

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// renewPatience bounds a renewal that nobody asked for.
	renewPatience = 5 * time.Second
	// renewWarning is how long before its end a certificate that can't be renewed is told of.
	renewWarning = 5 * 24 * time.Hour
)

func (s *session) contextRenewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "renew [NAME]",
		Short: "Renew the certificate of a context now",
		Long: "Makes a new key and asks the controller for the next certificate, of the context in use or of another one. Without\n" +
			"this, ktrdrctl renews a certificate by itself when a third of its time is left. Copies of the context on other\n" +
			"machines end with it. A token needs no renewal; one that has ended takes an admin.",
		Example:           "ktrdrctl context renew\nktrdrctl context renew home",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.complete(completeContext),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.where()
			if len(args) > 0 {
				c, err = s.named(args[0])
			}
			if err != nil {
				return err
			}
			if c.Key == "" && c.KeyFile == "" {
				return errors.New("the context has no certificate: there is nothing to renew")
			}
			until, err := s.renew(cmd.Context(), c, s.timeout)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the certificate of context %s is good until %s\n", c.Name, until.UTC().Format(time.RFC3339))
			return err
		},
	}
}

// freshened renews the certificate of a context when a third of its time is left, and returns
// the context to use. It never keeps a verb from being tried.
func (s *session) freshened(cmd *cobra.Command, c *contexts.Context) *contexts.Context {
	leaf := leafOf(c)
	now := time.Now()
	if leaf == nil || now.After(leaf.NotAfter) || now.Before(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore)*2/3)) {
		return c
	}
	_, err := s.renew(cmd.Context(), c, renewPatience)
	if err == nil {
		if fresh, err := s.named(c.Name); err == nil {
			return fresh
		}
	}
	if leaf.NotAfter.Sub(now) < renewWarning {
		fmt.Fprintf(cmd.ErrOrStderr(), "ktrdrctl: your certificate ends on %s and could not be renewed: %s\n", leaf.NotAfter.UTC().Format(time.RFC3339), oneLine(err.Error()))
	}
	return c
}

// leafOf is the certificate in a context; nil when there is none, or it is in a file of its
// own, which is somebody else's to renew.
func leafOf(c *contexts.Context) *x509.Certificate {
	if c.Name == "" || c.Certificate == "" || c.Key == "" {
		return nil
	}
	creds, err := c.Credentials("")
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(creds.Certificate)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}

// renew asks for the next certificate and keeps it with its key in the file with the contexts.
// One ktrdrctl at a time does it: of two that renew the same certificate one would be left with
// one that is of no use.
func (s *session) renew(ctx context.Context, c *contexts.Context, limit time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	unlock, err := contexts.Lock(ctx, s.configPath())
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	f, err := contexts.Load(s.configPath())
	if err != nil {
		return time.Time{}, err
	}
	now, err := find(f, c.Name)
	if err != nil {
		return time.Time{}, err
	}
	if now.Certificate != c.Certificate { // another one was faster
		if leaf := leafOf(now); leaf != nil {
			return leaf.NotAfter, nil
		}
	}
	next, err := s.nextCertificate(ctx, now)
	if err != nil {
		return time.Time{}, err
	}
	f.Put(*next)
	if err := f.Save(s.configPath()); err != nil {
		return time.Time{}, err
	}
	return leafOf(next).NotAfter, nil
}

// nextCertificate returns the context with a new key and its certificate.
func (s *session) nextCertificate(ctx context.Context, now *contexts.Context) (*contexts.Context, error) {
	conn, err := s.dialController(now)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	key, csr, err := newRequest()
	if err != nil {
		return nil, err
	}
	var r *ktrdrv1.RenewAccessResponse
	err = conn.call(ctx, 0, func(ctx context.Context) (err error) {
		r, err = conn.Access.RenewAccess(ctx, &ktrdrv1.RenewAccessRequest{Csr: csr})
		return err
	})
	if err != nil {
		return nil, err
	}
	chain, err := certificates(slices.Concat(r.GetChain()...))
	if err != nil {
		return nil, err
	}
	authorities, err := certificates(r.GetAuthority())
	if err != nil {
		return nil, err
	}
	next := now.For()
	next.Certificate, next.Key, next.Authority = contexts.Encode(chain), contexts.Encode(key), contexts.Encode(authorities)
	if leafOf(&next) == nil || next.Validate() != nil {
		return nil, errors.New("the controller's answer has no certificate")
	}
	// What can't be used must not replace what can.
	try, err := s.dialController(&next)
	if err != nil {
		return nil, fmt.Errorf("the controller's answer: %w", err)
	}
	try.Close()
	return &next, nil
}
