package connect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Grant is what a token allows.
type Grant struct {
	// Vaults that it may read, by id.
	Vaults []string
	// Expires is zero for a token that never does.
	Expires time.Time
}

// access is the bit pattern of a vault that may be read.
const access = 48

type claims struct {
	Account  string       `json:"1password.com/auuid"`
	Features []string     `json:"1password.com/fts"`
	Token    string       `json:"1password.com/token"`
	Vaults   []vaultClaim `json:"1password.com/vts"`
	Audience []string     `json:"aud"`
	Subject  string       `json:"sub"`
	Issuer   string       `json:"iss"`
	ID       string       `json:"jti"`
	Issued   int64        `json:"iat"`
	Expires  int64        `json:"exp,omitempty"`
}

type vaultClaim struct {
	ID     string `json:"u"`
	Access int    `json:"a"`
}

// keyring signs and verifies tokens: ES256, as 1Password's are.
type keyring struct {
	key     *ecdsa.PrivateKey
	issued  int
	revoked []string
}

func newKeyring() (*keyring, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &keyring{key: key}, err
}

func (k *keyring) issue(g Grant) (string, error) {
	k.issued++
	c := claims{
		Account: "KTRDRFIXTUREACCOUNTABCDEFG", Features: []string{"vaultaccess"}, Token: rand.Text() + "abcdef",
		Audience: []string{"com.1password.connect"}, Subject: "KTRDRFIXTURESERVERABCDEFGH",
		Issuer: "com.1password.b5", ID: fmt.Sprintf("token%021d", k.issued), Issued: time.Now().Unix(),
	}
	for _, id := range g.Vaults {
		c.Vaults = append(c.Vaults, vaultClaim{ID: id, Access: access})
	}
	if !g.Expires.IsZero() {
		c.Expires = g.Expires.Unix()
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","kid":"ktrdrfixturekeyabcdefghijkl","typ":"JWT"}`)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature), nil
}

// The refusals are the texts of real servers.
var (
	errNoToken   = errors.New("Authentication: (No bearer token provided)") //nolint:staticcheck // as a real server writes it
	errBadToken  = errors.New("Invalid token signature")                    //nolint:staticcheck // as the specification writes it
	errOldToken  = errors.New("Invalid bearer token: token is expired")     //nolint:staticcheck // as a real server writes it
	errGoneToken = errors.New("Invalid bearer token")                       //nolint:staticcheck // as a real server writes it
)

func (k *keyring) verify(token string, now time.Time) (*claims, error) {
	if token == "" {
		return nil, errNoToken
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errBadToken
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errBadToken
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(&k.key.PublicKey, sum[:], r, s) {
		return nil, errBadToken
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return nil, errBadToken
	}
	if c.Expires != 0 && now.Unix() >= c.Expires {
		return nil, errOldToken
	}
	if slices.Contains(k.revoked, token) {
		return nil, errGoneToken
	}
	return &c, nil
}

// covers tells whether the token may read a vault.
func (c *claims) covers(vaultID string) bool {
	return slices.ContainsFunc(c.Vaults, func(v vaultClaim) bool { return strings.EqualFold(v.ID, vaultID) })
}
