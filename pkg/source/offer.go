package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// Sum is the SHA-256 of a content. As text it is lower-case hex.
type Sum [sha256.Size]byte

// String returns lower-case hex.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(s) {
		return fmt.Errorf("a SHA-256 has %d digits, not %d", hex.EncodedLen(len(s)), len(text))
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// OfferFile is one regular file of an Offer. An offer has no links and no empty folders.
type OfferFile struct {
	// Path is relative to the tree's root and has the form of fs.ValidPath.
	Path string `json:"path"`
	// Mode is 0644 or 0755.
	Mode fs.FileMode `json:"mode"`
	// Size in bytes.
	Size int64 `json:"size"`
	Sum  Sum   `json:"sum"`
}

// Offer is a revision as the list of its files; contents travel apart from it.
type Offer struct {
	// Revision has an ID and a Digest. Who makes an offer has verified that Digest is over Files.
	Revision Revision    `json:"revision"`
	Files    []OfferFile `json:"files"`
}

var (
	offerID     = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	offerDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// digestDigits is how many digits of a digest the name of a tree has.
const digestDigits = 16

// tree is what the tree of a revision is called on disk.
func (o *Offer) tree() string {
	return o.Revision.ID + "-" + strings.TrimPrefix(o.Revision.Digest, "sha256:")[:digestDigits]
}

// check refuses an offer that can't become a tree. Errors are *Error without an Op.
func (o *Offer) check(limits Limits) error {
	if !offerID.MatchString(o.Revision.ID) {
		return fail(ReasonInvalid, "%.80q is no commit", o.Revision.ID)
	}
	if !offerDigest.MatchString(o.Revision.Digest) {
		return fail(ReasonInvalid, "%.80q is no digest", o.Revision.Digest)
	}
	if len(o.Files) > limits.MaxFiles {
		return fail(ReasonTooLarge, "%d files are more than %d", len(o.Files), limits.MaxFiles)
	}
	c := offerCheck{files: make(map[string]bool, len(o.Files)), folders: map[string]bool{}, sizes: map[Sum]int64{}}
	for i := range o.Files {
		if err := c.file(&o.Files[i]); err != nil {
			return err
		}
		if c.bytes > limits.MaxBytes {
			return fail(ReasonTooLarge, "more than %d bytes of files", limits.MaxBytes)
		}
		if len(c.files)+len(c.folders) > limits.MaxFiles {
			return fail(ReasonTooLarge, "more than %d files and folders", limits.MaxFiles)
		}
	}
	for name := range c.folders {
		if c.files[name] {
			return fail(ReasonInvalid, "%q is both a file and a folder", name)
		}
	}
	return nil
}

type offerCheck struct {
	files, folders map[string]bool
	sizes          map[Sum]int64
	bytes          int64
}

func (c *offerCheck) file(f *OfferFile) error {
	if !fs.ValidPath(f.Path) || f.Path == "." {
		return fail(ReasonInvalid, "%.80q is no path of a file in a repository", f.Path)
	}
	for part := range strings.SplitSeq(f.Path, "/") {
		if err := safeName(f.Path, part); err != nil {
			return err
		}
	}
	size, known := c.sizes[f.Sum]
	switch {
	case c.files[f.Path]:
		return fail(ReasonInvalid, "%q is listed twice", f.Path)
	case f.Mode != 0o644 && f.Mode != 0o755:
		return fail(ReasonInvalid, "%q has the mode %#o; 0644 and 0755 are possible", f.Path, uint32(f.Mode))
	case f.Size < 0, known && size != f.Size, f.Size == 0 && f.Sum != emptySum():
		return fail(ReasonInvalid, "%q can't have %d bytes", f.Path, f.Size)
	case f.Size > DefaultLimits().MaxTransferBytes: // keeps the sum of all from overflowing
		return fail(ReasonTooLarge, "%q has %d bytes", f.Path, f.Size)
	}
	c.files[f.Path], c.sizes[f.Sum] = true, f.Size
	c.bytes += f.Size
	for dir := path.Dir(f.Path); dir != "." && !c.folders[dir]; dir = path.Dir(dir) {
		c.folders[dir] = true
	}
	return nil
}

func emptySum() Sum { return sha256.Sum256(nil) }
