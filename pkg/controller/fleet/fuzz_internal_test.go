package fleet

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/source"
)

func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range headers {
		if err := w.WriteHeader(&headers[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, headers[i].Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestUnpackIsBounded refuses archives that would cost more than a desired state does.
func TestUnpackIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		header tar.Header
		want   string
	}{
		"bytes":            {tar.Header{Name: "a", Size: 101}, "100 bytes"},
		"folders in depth": {tar.Header{Name: strings.Repeat("d/", 33) + "f"}, "32 folders"},
		"git's own":        {tar.Header{Name: "a/.git/config"}, "git's own"},
		"a way out":        {tar.Header{Name: "../a"}, "leaves the tree"},
		"a device":         {tar.Header{Name: "a", Typeflag: tar.TypeBlock}, "neither a file"},
	} {
		err := unpack(t.TempDir(), bytes.NewReader(archive(t, c.header)), source.Limits{MaxFiles: 10, MaxBytes: 100})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzUpload unpacks anything, and validates it: nothing appears outside of the folder, and
// what a link leads to outside is nobody's to read.
func FuzzUpload(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "fleet.yaml", Size: 3}, tar.Header{Name: "nodes", Typeflag: tar.TypeDir}))
	f.Add(archive(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/x"}))
	f.Add(archive(f, tar.Header{Name: "nodes", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "fleet.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}))
	f.Add(archive(f, tar.Header{Name: "a/b/../../../c"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		around := t.TempDir()
		dir := filepath.Join(around, "tree")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		in := &chunks{receive: func() ([]byte, error) {
			if len(data) == 0 {
				return nil, io.EOF
			}
			part := data[:min(len(data), 700)]
			data = data[len(part):]
			return part, nil
		}}
		if err := unpack(dir, in, source.Limits{MaxFiles: 100, MaxBytes: 100_000}); err == nil {
			var refused *refusal
			if _, err := check(t.Context(), source.Tree{Dir: dir}, nil); err != nil && !errors.As(err, &refused) {
				t.Fatalf("what was uploaded is no reason to fail: %v", err)
			}
		}
		beside, err := os.ReadDir(around)
		if err != nil || len(beside) != 1 {
			t.Fatalf("beside the tree there is %v, %v", beside, err)
		}
		err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
				t.Fatalf("%s is %s", name, e.Type())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
