package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// chunk is how much of a stream is looked at at once, in bytes.
const chunk = 1 << 20

// Scanner looks for secrets. It is safe for concurrent use.
type Scanner struct {
	needles []needle
	longest int
}

type needle struct {
	secret, form string
	text         []byte
}

// Hit is a secret that was found. It does not hold the value.
type Hit struct{ Where, Secret, Form string }

// String implements fmt.Stringer.
func (h Hit) String() string {
	return fmt.Sprintf("%s has the secret %s as %s", h.Where, h.Secret, h.Form)
}

// New makes a scanner for secrets in all their forms.
func New(secrets ...Secret) *Scanner {
	s := &Scanner{}
	seen := map[string]bool{}
	for _, secret := range secrets {
		for form, text := range secret.Forms() {
			if seen[text] {
				continue
			}
			seen[text] = true
			s.needles = append(s.needles, needle{secret.Name, form, []byte(text)})
			s.longest = max(s.longest, len(text))
		}
	}
	return s
}

// Text scans a text.
func (s *Scanner) Text(where, text string) []Hit {
	hits, _ := s.Stream(where, strings.NewReader(text)) // reading a string never fails
	return hits
}

// Stream scans all of a stream, in pieces; a secret that lies across two is found. Each
// secret is told once for each form.
func (s *Scanner) Stream(where string, r io.Reader) ([]Hit, error) {
	buffer := make([]byte, 0, chunk+s.longest)
	var hits []Hit
	for {
		n, err := io.ReadFull(r, buffer[len(buffer):len(buffer)+chunk])
		buffer = buffer[:len(buffer)+n]
		for _, hit := range s.find(where, buffer) {
			if !slices.Contains(hits, hit) {
				hits = append(hits, hit)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return hits, nil
		case err != nil:
			return hits, fmt.Errorf("scan %s: %w", where, err)
		}
		kept := copy(buffer, buffer[max(0, len(buffer)-s.longest+1):])
		buffer = buffer[:kept]
	}
}

func (s *Scanner) find(where string, data []byte) []Hit {
	var hits []Hit
	for _, n := range s.needles {
		if bytes.Contains(data, n.text) {
			hits = append(hits, Hit{where, n.secret, n.form})
		}
	}
	return hits
}

// Tree is the result of scanning a folder.
type Tree struct {
	Hits  []Hit
	Files int
}

// Tree scans names and contents of all files below dir, those that grow meanwhile up to
// their end; except tells which paths are left out. Files that go away meanwhile are no error.
func (s *Scanner) Tree(dir string, except func(path string) bool) (Tree, error) {
	var t Tree
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case except != nil && except(path):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		t.Hits = append(t.Hits, s.Text("the name "+filepath.Dir(path)+"/…", d.Name())...)
		if !d.Type().IsRegular() {
			return nil
		}
		in, err := os.Open(path) //nolint:gosec // what is scanned is the caller's choice
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // only read
		hits, err := s.Stream(path, in)
		t.Hits = append(t.Hits, hits...)
		t.Files++
		return err
	})
	return t, err
}
