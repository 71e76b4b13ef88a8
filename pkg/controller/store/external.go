package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// dial makes a client; it does not wait for a connection.
func (e *External) dial(ctx context.Context, log *slog.Logger) (*clientv3.Client, error) {
	config := clientv3.Config{
		Context:   context.WithoutCancel(ctx),
		Endpoints: e.Endpoints,
		Logger:    zapLogger(log),
		// A member that is gone without a word is noticed within 8 s.
		DialTimeout:          callTimeout,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Username:             e.Username,
	}
	var err error
	if config.TLS, err = e.tls(); err != nil {
		return nil, err
	}
	if e.PasswordFile != "" {
		if config.Password, err = readPassword(e.PasswordFile); err != nil {
			return nil, err
		}
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %s: %w", strings.Join(e.Endpoints, ", "), classify(ctx, err))
	}
	return client, nil
}

// tls is nil when all endpoints are local.
func (e *External) tls() (*tls.Config, error) {
	secure := false
	for _, endpoint := range e.Endpoints {
		secure = secure || strings.HasPrefix(endpoint, "https:")
	}
	if !secure {
		return nil, nil //nolint:nilnil // no TLS is a valid answer
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read store.external.caFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("store.external.caFile: %s holds no certificate in PEM form", e.CAFile)
		}
	}
	if e.CertFile == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read store.external.certFile and keyFile: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

func readPassword(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read store.external.passwordFile: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("read store.external.passwordFile: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("store.external.passwordFile: everybody can use %s: chmod 0600 it", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return "", fmt.Errorf("read store.external.passwordFile: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	if password == "" {
		return "", fmt.Errorf("store.external.passwordFile: %s is empty", path)
	}
	return password, nil
}
