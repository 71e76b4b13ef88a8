package keyvault_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets/keyvault"
)

// spoken is a transport that answers with what it is given.
type spoken struct {
	status            int
	challenge, answer string
}

func (s *spoken) Do(r *http.Request) (*http.Response, error) {
	res := &http.Response{StatusCode: s.status, Header: http.Header{"Content-Type": {"application/json"}}, Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if r.Header.Get("Authorization") == "" {
		res.StatusCode = http.StatusUnauthorized
		res.Header["Www-Authenticate"] = []string{s.challenge}
	}
	res.Body = io.NopCloser(strings.NewReader(s.answer))
	return res, nil
}

// FuzzAnswers gives anything as challenge and as answer of Key Vault. What it is told as an error
// repeats nothing of it, and what is no secret is none.
func FuzzAnswers(f *testing.F) {
	const challenge = `Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", resource="https://vault.azure.net"`
	f.Add(200, challenge, `{"value":"x","id":"https://v.vault.azure.net/secrets/n/00000000000000000000000000000001"}`)
	f.Add(200, challenge, `{"value":null,"id":null}`)
	f.Add(200, challenge, `{"id":"https://v.vault.azure.net"}`)
	f.Add(404, challenge, `{"error":null}`)
	f.Add(403, "Bearer", `null`)
	f.Add(302, `Bearer authorization="x", resource=""`, ``)
	f.Fuzz(func(t *testing.T, status int, challenge, answer string) {
		if status < 200 || status > 599 || status == http.StatusTooManyRequests || status >= 500 {
			return // which is tried again, after pauses
		}
		const canary = "planted-canary"
		s := &spoken{status: status, challenge: challenge, answer: strings.ReplaceAll(answer, "x", canary)}
		p, err := keyvault.New(&keyvault.Config{Credential: &identity{token: "good"}, Transport: s, Timeout: time.Minute, Retry: time.Nanosecond})
		if err != nil {
			t.Fatal(err)
		}
		results, err := p.Resolve(t.Context(), []string{"akv://v/n"})
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Fatalf("the error repeats what was answered: %v", err)
		}
		result, told := results["akv://v/n"]
		switch {
		case !told && err == nil:
			t.Fatal("nothing is told")
		case told && result.Err != nil && strings.Contains(result.Err.Error(), canary):
			t.Fatalf("the error repeats what was answered: %v", result.Err)
		case told && result.Err == nil && result.Value.Open() == "":
			t.Fatal("it is resolved to nothing")
		}
	})
}
