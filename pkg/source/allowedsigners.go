package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// allowedSigner is one line of an allowed_signers file (ssh-keygen(1), ALLOWED SIGNERS).
type allowedSigner struct {
	principals string
	key        ssh.PublicKey
	namespaces []string
	after      time.Time
	before     time.Time
}

// usable says why the key doesn't count for this namespace and time.
func (s allowedSigner) usable(namespace string, when time.Time) error {
	if len(s.namespaces) > 0 {
		ok := false
		for _, pattern := range s.namespaces {
			match, err := path.Match(pattern, namespace)
			ok = ok || err == nil && match
		}
		if !ok {
			return fmt.Errorf("the key is not allowed for the namespace %s", namespace)
		}
	}
	if !s.after.IsZero() && when.Before(s.after) || !s.before.IsZero() && when.After(s.before) {
		return fmt.Errorf("the key was not valid at %s", when.Format(time.RFC3339))
	}
	return nil
}

func parseAllowedSigners(data []byte) ([]allowedSigner, error) {
	var list []allowedSigner
	var errs []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 64<<10)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseAllowedSigner(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
		list = append(list, s)
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, err)
	}
	if len(list) == 0 {
		errs = append(errs, errors.New("the file names no signer"))
	}
	return list, errors.Join(errs...)
}

func parseAllowedSigner(line string) (allowedSigner, error) {
	var s allowedSigner
	var rest string
	if line[0] == '"' {
		s.principals, rest, _ = strings.Cut(line[1:], `"`)
	} else if i := strings.IndexAny(line, " \t"); i > 0 {
		s.principals, rest = line[:i], line[i:]
	}
	if s.principals == "" || strings.TrimSpace(rest) == "" {
		return s, errors.New("want: principals [options] key-type key")
	}
	key, _, options, more, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(rest)))
	if err != nil || len(more) > 0 {
		return s, errors.New("holds no readable public key")
	}
	s.key = key
	for _, o := range options {
		if err := s.option(o); err != nil {
			return s, err
		}
	}
	return s, nil
}

// option refuses what it doesn't know: an option that is not understood could have been a restriction.
func (s *allowedSigner) option(o string) (err error) {
	name, value, _ := strings.Cut(o, "=")
	value = strings.Trim(value, `"`)
	switch strings.ToLower(name) {
	case "namespaces":
		s.namespaces = strings.Split(value, ",")
	case "valid-after":
		s.after, err = signerTime(value)
	case "valid-before":
		s.before, err = signerTime(value)
	case "cert-authority":
		err = errors.New("cert-authority is not supported; list the signing keys themselves")
	default:
		err = fmt.Errorf("unknown option %q", name)
	}
	return err
}

// signerTime reads YYYYMMDD[HHMM[SS]][Z]; without Z it is local time.
func signerTime(v string) (time.Time, error) {
	zone, digits := time.Local, v
	if strings.HasSuffix(strings.ToUpper(v), "Z") {
		zone, digits = time.UTC, v[:len(v)-1]
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.ParseInLocation(layout, digits, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time of the form YYYYMMDD[HHMM[SS]][Z]", v)
}
