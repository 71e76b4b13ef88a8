package database

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// rounds of PBKDF2, as PostgreSQL has them.
const rounds = 4096

// ErrDenied is the answer to a wrong user or password.
var ErrDenied = errors.New("password authentication failed")

// Verifier is what the server keeps of a password: SCRAM-SHA-256's stored key (RFC 5802), from which the password can't be
// read. The client makes it, so that the server never hears a new password.
func Verifier(password string) (string, error) {
	salt := make([]byte, 16)
	// crypto/rand.Read never returns an error.
	_, _ = rand.Read(salt)
	key, err := clientKey(password, salt, rounds)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(key)
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s", rounds, encode(salt), encode(stored[:])), nil
}

// Matches says whether a verifier is that of a password.
func Matches(verifier, password string) bool {
	c := Cluster{Verifier: verifier}
	text, stored := c.challenge("")
	proof, err := prove(text, password)
	return err == nil && proves(proof, text, stored)
}

func clientKey(password string, salt []byte, rounds int) ([]byte, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive a key from the password: %w", err)
	}
	return sum(salted, "Client Key"), nil
}

func sum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// challenge is what the server sends: how the password is to be salted, and a text that is new each time.
func (c Cluster) challenge(user string) (text string, stored []byte) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce)
	params, key, ok := strings.Cut(strings.TrimPrefix(c.Verifier, "SCRAM-SHA-256$"), "$")
	stored, err := base64.StdEncoding.DecodeString(key)
	if !ok || err != nil || len(stored) != sha256.Size || user != c.User {
		params, stored = fmt.Sprintf("%d:%s", rounds, encode(nonce)), nil // nobody learns which users there are
	}
	return params + " " + encode(nonce), stored
}

// proves says that whoever made proof knows the password: it is the client's key under a mask that only the server and
// who knows the key can make.
func proves(proof, challenge string, stored []byte) bool {
	key, err := base64.StdEncoding.DecodeString(proof)
	if err != nil || len(key) != sha256.Size || len(stored) != sha256.Size {
		return false
	}
	subtle.XORBytes(key, key, sum(stored, challenge))
	have := sha256.Sum256(key)
	return subtle.ConstantTimeCompare(have[:], stored) == 1
}

// Login asks the database at addr whether it accepts the password; ErrDenied says that it does not.
func Login(ctx context.Context, addr, user, password string) error {
	ctx, cancel := context.WithTimeout(ctx, talkTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("log in at %s: %w", addr, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline(ctx)); err != nil {
		return fmt.Errorf("log in at %s: %w", addr, err)
	}
	t := &talk{conn: conn, lines: bufio.NewReader(io.LimitReader(conn, talkLimit))}
	text, err := t.ask(login + " " + user)
	if err != nil {
		return fmt.Errorf("log in at %s: %w", addr, err)
	}
	proof, err := prove(text, password)
	if err != nil {
		return fmt.Errorf("log in at %s: %w", addr, err)
	}
	switch reply, err := t.ask(proof); {
	case err != nil:
		return fmt.Errorf("log in at %s: %w", addr, err)
	case reply != accepted:
		return fmt.Errorf("log in at %s as %s: %w", addr, user, ErrDenied)
	}
	return nil
}

// prove answers a challenge.
func prove(challenge, password string) (string, error) {
	params, _, _ := strings.Cut(challenge, " ")
	count, salted, _ := strings.Cut(params, ":")
	n, err := strconv.Atoi(count)
	salt, saltErr := base64.StdEncoding.DecodeString(salted)
	if err != nil || saltErr != nil || n < 1 || n > 1<<20 {
		return "", errors.New("the server's challenge is not understood")
	}
	key, err := clientKey(password, salt, n)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(key)
	subtle.XORBytes(key, key, sum(stored[:], challenge))
	return encode(key), nil
}

// Alter gives the database in dir another password, by its local socket: whoever may use that is trusted.
func Alter(ctx context.Context, dir, user, password string) error {
	verifier, err := Verifier(password)
	if err != nil {
		return err
	}
	reply, err := local(ctx, dir, strings.Join([]string{alter, user, verifier}, " "))
	switch {
	case err != nil:
		return fmt.Errorf("alter user %s: %w", user, err)
	case reply != accepted:
		return fmt.Errorf("alter user %s: role does not exist", user)
	}
	return nil
}

// Trusted asks the database in dir, by its local socket, whether it is there.
func Trusted(ctx context.Context, dir string) error {
	reply, err := local(ctx, dir, ping)
	if err == nil && !strings.HasPrefix(reply, ready) {
		err = errors.New("the database system is starting up")
	}
	return err
}

func local(ctx context.Context, dir, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, talkTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketIn(dir))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline(ctx)); err != nil {
		return "", err
	}
	return (&talk{conn: conn, lines: bufio.NewReader(io.LimitReader(conn, talkLimit))}).ask(line)
}
