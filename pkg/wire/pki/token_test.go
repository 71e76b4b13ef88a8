package pki_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/wire/pki"
)

func TestTokensGoThereAndBack(t *testing.T) {
	a := authority(t)
	join, err := a.NewJoinToken("b")
	must(t, err)
	got, err := pki.ParseJoinToken("  " + join.Text() + "\n")
	must(t, err)
	if got != join || got.Pin != a.Pin() || got.Node != "b" {
		t.Errorf("read %#v", got)
	}
	if !got.Matches(join.Hash()) || !got.Matches(pki.Hash(join.Secret())) {
		t.Error("the hash of the token that was read is another one")
	}
	op := pki.NewOperatorToken()
	gotOp, err := pki.ParseOperatorToken(op.Text())
	must(t, err)
	if gotOp != op {
		t.Errorf("read %#v", gotOp)
	}
	if gotOp.Matches(join.Hash()) || gotOp.Matches("") {
		t.Error("a token matches the hash of another one")
	}
}

func TestTokensAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		token := pki.NewOperatorToken()
		if seen[token.ID] || seen[token.Hash()] {
			t.Fatal("two tokens are alike")
		}
		seen[token.ID], seen[token.Hash()] = true, true
	}
}

func TestTokensPrintWithoutSecret(t *testing.T) {
	join, err := authority(t).NewJoinToken("b")
	must(t, err)
	op := pki.NewOperatorToken()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "a", join, "b", op, "c", &join, "d", join.Token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "a", join, "b", op, "c", &join, "d", []any{join, op})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&log, verb+verb+verb+verb+"\n", join, op, &join, []any{join.Token, op})
	}
	for _, secret := range []string{join.Secret(), op.Secret(), fmt.Sprintf("%x", join.Secret()), fmt.Sprintf("%x", op.Secret())} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("a secret was printed:\n%s", log.String())
		}
	}
}

func TestTokensRefused(t *testing.T) {
	join, err := authority(t).NewJoinToken("b")
	must(t, err)
	parts := strings.Split(join.Text(), ".")
	with := func(i int, text string) string {
		changed := append([]string{}, parts...)
		changed[i] = text
		return strings.Join(changed, ".")
	}
	for name, text := range map[string]string{
		"empty":             "",
		"cut":               join.Text()[:len(join.Text())-1],
		"longer":            join.Text() + "A",
		"another version":   with(0, "ktrdr-join-2"),
		"operator's prefix": with(0, "ktrdr-op-1"),
		"short id":          with(1, "abcd"),
		"upper-case id":     with(1, strings.ToUpper("abcdef0123456789")),
		"short secret":      with(2, "AAAA"),
		"line in secret":    with(2, parts[2][:20]+"\n"+parts[2][20:]),
		"node with a slash": with(3, "a/b"),
		"no node":           with(3, ""),
		"another encoding":  with(4, strings.Repeat("A", 42)+"B"),
		"huge":              strings.Repeat("a", 10_000),
	} {
		if token, err := pki.ParseJoinToken(text); err == nil {
			t.Errorf("%s: read as %s", name, token)
		} else if strings.Contains(err.Error(), parts[2][:20]) {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
}

func TestJoinPinsTheAuthority(t *testing.T) {
	a, other := authority(t), authority(t)
	token, err := a.NewJoinToken("b")
	must(t, err)
	foreign, err := other.NewJoinToken("b")
	must(t, err)

	withoutCA := serverConfig(t, a)
	withoutCA.Certificates[0].Certificate = withoutCA.Certificates[0].Certificate[:1]
	// The right authority is shown, but did not sign the leaf.
	mixed := serverConfig(t, other)
	mixed.Certificates[0].Certificate = append(mixed.Certificates[0].Certificate[:1:1], serverConfig(t, a).Certificates[0].Certificate[1])
	node := enrol(t, a, "b").Certificate
	nodeAsServer := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{node}}

	tests := map[string]struct {
		server *tls.Config
		token  pki.JoinToken
		host   string
		ok     bool
	}{
		"by name":                    {serverConfig(t, a), token, "controller.example", true},
		"by address":                 {serverConfig(t, a), token, "127.0.0.1", true},
		"another name":               {serverConfig(t, a), token, "other.example", false},
		"another address":            {serverConfig(t, a), token, "127.0.0.2", false},
		"no name":                    {serverConfig(t, a), token, "", false},
		"another fleet's token":      {serverConfig(t, a), foreign, "controller.example", false},
		"chain without authority":    {withoutCA, token, "controller.example", false},
		"authority beside the chain": {mixed, token, "controller.example", false},
		"a node plays controller":    {nodeAsServer, token, "b", false},
	}
	for name, tc := range tests {
		if _, err := handshake(t, tc.server, pki.TLSForJoin(tc.token, tc.host)); (err == nil) != tc.ok {
			t.Errorf("%s: %v, accepted shall be %v", name, err, tc.ok)
		}
	}
	must(t, token.CheckBundle(a.BundleDER()))
	if err := token.CheckBundle(other.BundleDER()); err == nil {
		t.Error("the bundle of another authority was accepted")
	}
}
