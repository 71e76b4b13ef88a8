package wire_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// TestServerCertificateIsRenewed lets months go by.
func TestServerCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		identity := wire.NewServerIdentity(serverCert(t, a), a.Pool())
		bell := make(chan struct{}, 1)
		var fail atomic.Bool
		var reported atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			identity.Keep(ctx, bell, func() (tls.Certificate, *x509.CertPool, error) {
				if fail.Load() {
					return tls.Certificate{}, nil, errors.New("the disk is gone")
				}
				return serverCert(t, a), a.Pool(), nil
			}, func(error) { reported.Add(1) })
		}()
		shown := func() *x509.Certificate {
			config, err := identity.Config().GetConfigForClient(nil)
			must(t, err)
			return config.Certificates[0].Leaf
		}
		first := shown()
		sleep(pki.DefaultLifetime / 2)
		if shown() != first {
			t.Error("it was renewed at half its time")
		}
		sleep(pki.DefaultLifetime / 4)
		second := shown()
		if second == first {
			t.Error("it was not renewed after three quarters of its time")
		}
		bell <- struct{}{}
		synctest.Wait()
		third := shown()
		if third == second {
			t.Error("the bell did not renew it")
		}
		fail.Store(true)
		bell <- struct{}{}
		sleep(10 * time.Minute)
		if shown() != third || reported.Load() < 5 {
			t.Errorf("after failures: %d reports", reported.Load())
		}
		fail.Store(false)
		sleep(2 * time.Minute)
		if shown() == third {
			t.Error("it was not tried again")
		}
		cancel()
		<-ended
	})
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
