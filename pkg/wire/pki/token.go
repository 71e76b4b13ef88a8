package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A token is one line: a prefix with a version, an id that is no secret, a secret of 256
// bits and, in a join token, the node and the pin. No part contains a dot.
const (
	joinPrefix     = "ktrdr-join-1"
	operatorPrefix = "ktrdr-op-1"
	idBytes        = 8
	secretBytes    = 32
	maxToken       = 300
)

// Token proves to the controller who may have a certificate or make a call. It prints
// without its secret; Text has it.
type Token struct {
	// ID is no secret: audit and lists show it.
	ID     string
	secret string
}

// Hash is what may be stored of the secret.
func (t Token) Hash() string { return Hash(t.secret) }

// Secret is the secret part, which a controller compares by Hash.
func (t Token) Secret() string { return t.secret }

// JoinToken lets one node ask for its first certificate, once.
type JoinToken struct {
	Token
	Node string
	// Pin is the authority that the controller must belong to.
	Pin Pin
}

// OperatorToken stands for an operator where no certificate is at hand.
type OperatorToken struct{ Token }

// NewJoinToken makes a token for a node of this authority's fleet.
func (a *Authority) NewJoinToken(node string) (JoinToken, error) {
	if err := CheckName(Node, node); err != nil {
		return JoinToken{}, fmt.Errorf("make join token: %w", err)
	}
	return JoinToken{Token: newToken(), Node: node, Pin: a.Pin()}, nil
}

// NewOperatorToken makes a token.
func NewOperatorToken() OperatorToken { return OperatorToken{newToken()} }

func newToken() Token {
	id, secret := make([]byte, idBytes), make([]byte, secretBytes)
	// crypto/rand.Read never returns an error; since Go 1.24 it ends the program instead.
	_, _ = rand.Read(id)
	_, _ = rand.Read(secret)
	return Token{ID: hex.EncodeToString(id), secret: base64.RawURLEncoding.EncodeToString(secret)}
}

// Hash is what may be stored of a secret of 256 random bits: its SHA-256 in hexadecimal.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte("ktrdr token\x00" + secret))
	return hex.EncodeToString(sum[:])
}

// Matches tells in constant time whether a stored Hash is the one of the secret.
func (t Token) Matches(hash string) bool {
	return subtle.ConstantTimeCompare([]byte(t.Hash()), []byte(hash)) == 1
}

// Text is the whole token, for the one who asked for it.
func (t JoinToken) Text() string {
	return strings.Join([]string{joinPrefix, t.ID, t.secret, t.Node, t.Pin.String()}, ".")
}

// Text is the whole token, for the one who asked for it.
func (t OperatorToken) Text() string {
	return strings.Join([]string{operatorPrefix, t.ID, t.secret}, ".")
}

// ParseJoinToken reads what Text wrote; space around it is ignored.
func ParseJoinToken(text string) (JoinToken, error) {
	parts, err := split(text, joinPrefix, 5)
	if err != nil {
		return JoinToken{}, fmt.Errorf("read join token: %w", err)
	}
	pin, err := decode(parts[4], sha256.Size)
	if err != nil {
		return JoinToken{}, fmt.Errorf("read join token: its last part, the authority, %w", err)
	}
	if err := CheckName(Node, parts[3]); err != nil {
		return JoinToken{}, fmt.Errorf("read join token: %w", err)
	}
	return JoinToken{Token: Token{ID: parts[1], secret: parts[2]}, Node: parts[3], Pin: Pin(pin)}, nil
}

// ParseOperatorToken reads what Text wrote; space around it is ignored.
func ParseOperatorToken(text string) (OperatorToken, error) {
	parts, err := split(text, operatorPrefix, 3)
	if err != nil {
		return OperatorToken{}, fmt.Errorf("read operator token: %w", err)
	}
	return OperatorToken{Token{ID: parts[1], secret: parts[2]}}, nil
}

// split returns the parts of a token with its id and secret checked. Its errors quote
// nothing of the text, which may be a secret in the wrong place.
func split(text, prefix string, parts int) ([]string, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxToken {
		return nil, fmt.Errorf("it has more than %d characters", maxToken)
	}
	found := strings.Split(text, ".")
	if found[0] != prefix {
		return nil, fmt.Errorf("it does not begin with %q", prefix+".")
	}
	if len(found) != parts {
		return nil, fmt.Errorf("it has %d parts between dots, want %d: was it cut when it was copied?", len(found), parts)
	}
	id, err := hex.DecodeString(found[1])
	if err != nil || len(id) != idBytes || hex.EncodeToString(id) != found[1] {
		return nil, fmt.Errorf("its second part, the id, is not %d lower-case hexadecimal digits", 2*idBytes)
	}
	if _, err := decode(found[2], secretBytes); err != nil {
		return nil, fmt.Errorf("its third part, the secret, %w", err)
	}
	return found, nil
}

// decode reads base64url that encodes exactly n bytes and is written in the one right way.
func decode(text string, n int) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(data) != n || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("is damaged: was it cut when it was copied?")
	}
	return data, nil
}

// Format prints the token without its secret, whatever the verb.
func (t JoinToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// String is the token without its secret.
func (t JoinToken) String() string { return joinPrefix + "." + t.ID + ".…" }

// LogValue is String.
func (t JoinToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Format prints the token without its secret, whatever the verb.
func (t OperatorToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// String is the token without its secret.
func (t OperatorToken) String() string { return operatorPrefix + "." + t.ID + ".…" }

// LogValue is String.
func (t OperatorToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Format prints the id, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.ID)) }

// String is the id.
func (t Token) String() string { return t.ID }

// LogValue is the id.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID) }
