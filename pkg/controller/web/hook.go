package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
)

const (
	// maxHook is the size of a webhook's body, in bytes: GitHub sends up to 25 MB, and what is
	// in it does not count.
	maxHook = 1 << 20
	// maxSecretFile and minSecret bound the secret, in bytes.
	maxSecretFile = 4 << 10
	minSecret     = 16
	openToWorld   = 0o007
)

// Hook takes webhooks of GitHub, Gitea, Forgejo and GitLab-compatible senders that sign with
// HMAC-SHA256. What a webhook says does not count: it makes the controller look at its
// repository, so one that is sent again does no harm.
type Hook struct {
	// SecretFile holds the secret; it is read for each request.
	SecretFile string
	// Ring makes the controller look. It must not block.
	Ring func()
}

// ServeHTTP answers 202 to what is signed.
func (h *Hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	if err != nil {
		http.Error(w, fmt.Sprintf("the body has more than %d bytes, or did not come", maxHook), http.StatusRequestEntityTooLarge)
		return
	}
	secret, err := h.secret()
	if err != nil {
		http.Error(w, "the webhook's secret can't be read; the controller's configuration names the file", http.StatusInternalServerError)
		return
	}
	if !signed(r.Header, body, secret) {
		http.Error(w, "the signature does not fit: is the secret the one of the controller?", http.StatusForbidden)
		return
	}
	h.Ring()
	w.WriteHeader(http.StatusAccepted)
}

// Check says whether the secret can be used.
func (h *Hook) Check() error {
	_, err := h.secret()
	return err
}

func (h *Hook) secret() ([]byte, error) {
	file, err := os.Open(h.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	if info.Mode()&fs.ModePerm&openToWorld != 0 {
		return nil, fmt.Errorf("read the webhook's secret: everybody can read %s: chmod 600 it", h.SecretFile)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecretFile))
	if err != nil {
		return nil, fmt.Errorf("read the webhook's secret: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < minSecret {
		return nil, errors.New("read the webhook's secret: it has less than 16 characters: openssl rand -hex 32")
	}
	return []byte(secret), nil
}

// signed compares in constant time. Source: GitHub "Validating webhook deliveries"
// (X-Hub-Signature-256: sha256=<hex>), Gitea "Webhooks" (X-Gitea-Signature: <hex>).
func signed(header http.Header, body, secret []byte) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := mac.Sum(nil)
	for _, text := range []string{
		strings.TrimPrefix(header.Get("X-Hub-Signature-256"), "sha256="), header.Get("X-Gitea-Signature"), header.Get("X-Forgejo-Signature"),
	} {
		got, err := hex.DecodeString(text)
		if err == nil && hmac.Equal(got, want) {
			return true
		}
	}
	return false
}
