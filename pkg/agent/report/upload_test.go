package report_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/plan"
)

// archive makes a tar of headers; a file's content is its name, as long as Size says.
func archive(tb testing.TB, headers ...tar.Header) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(bytes.Repeat([]byte{'x'}, int(h.Size))); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func upload(tb testing.TB, headers ...tar.Header) *http.Request {
	tb.Helper()
	r := request("POST", "/v1/plan", string(archive(tb, headers...)))
	r.Header.Set("Content-Type", "application/x-tar")
	return r
}

// listing is the backend's look at an unpacked tree.
func listing(found *[]string) func(context.Context, string) ([]*plan.Plan, error) {
	return func(_ context.Context, dir string) ([]*plan.Plan, error) {
		return []*plan.Plan{}, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err != nil || name == dir {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			*found = append(*found, fmt.Sprintf("%s %s", info.Mode(), strings.TrimPrefix(name, dir+"/")))
			return nil
		})
	}
}

func TestUpload(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var found []string
	w := httptest.NewRecorder()
	ready().Handler(&backend{tree: listing(&found)}).ServeHTTP(w, upload(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}},
		tar.Header{Name: "./", Typeflag: tar.TypeDir},
		tar.Header{Name: "./fleet.yaml", Size: 5},
		tar.Header{Name: "stacks/s/run.sh", Mode: 0o4755, Size: 3},
		tar.Header{Name: "stacks/s/", Typeflag: tar.TypeDir, Mode: 0o777},
		tar.Header{Name: "stacks/t", Typeflag: tar.TypeSymlink, Linkname: "s"},
		tar.Header{Name: "dangling", Typeflag: tar.TypeSymlink, Linkname: "stacks/none"},
	))
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	slices.Sort(found)
	want := []string{
		"-rw-r--r-- fleet.yaml", "-rwxr-xr-x stacks/s/run.sh", "Lrwxrwxrwx dangling", "Lrwxrwxrwx stacks/t", "drwxr-xr-x stacks", "drwxr-xr-x stacks/s",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	requireEmpty(t, os.Getenv("TMPDIR"))
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUploadRefusals(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	many := make([]tar.Header, 10_001)
	for i := range many {
		many[i] = tar.Header{Name: fmt.Sprint("f", i)}
	}
	for name, c := range map[string]struct {
		headers []tar.Header
		code    int
		text    string
	}{
		"absolute":           {[]tar.Header{{Name: "/etc/x"}}, 400, "the name leads out of the tree"},
		"parent":             {[]tar.Header{{Name: "a/../../x"}}, 400, "the name leads out of the tree"},
		"empty":              {[]tar.Header{{Name: ""}}, 400, "the name"},
		"twice":              {[]tar.Header{{Name: "a"}, {Name: "./a"}}, 400, "the name is there twice"},
		"file and folder":    {[]tar.Header{{Name: "a"}, {Name: "a/b"}}, 400, "the name is there twice"},
		"absolute link":      {[]tar.Header{link("l", "/etc/passwd")}, 400, "the link leads out of the tree"},
		"parent link":        {[]tar.Header{link("a/l", "../../x")}, 400, "the link leads out of the tree"},
		"link through links": {[]tar.Header{{Name: "a/b/f"}, link("a/b/up", "../.."), link("m", "a/b/up/../x")}, 400, "the link leads out of the tree"},
		"loop":               {[]tar.Header{link("l", "l")}, 400, "the link leads out of the tree"},
		"below a link":       {[]tar.Header{link("l", "/tmp"), {Name: "l/x"}}, 400, ""},
		"hard link":          {[]tar.Header{{Name: "a"}, {Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}}, 400, "only files, folders and symbolic links"},
		"device":             {[]tar.Header{{Name: "d", Typeflag: tar.TypeChar}}, 400, "only files, folders and symbolic links"},
		"pipe":               {[]tar.Header{{Name: "d", Typeflag: tar.TypeFifo}}, 400, "only files, folders and symbolic links"},
		"too many":           {many, 413, "more than 10000 files and folders"},
		"too many folders":   {deep(400, 30), 413, "more than 10000 files and folders"},
		"too deep":           {deep(1, 32), 400, "more than 32 folders in each other"},
		"too large":          {[]tar.Header{{Name: "a", Size: 16 << 20}}, 413, "bytes"},
		"long name":          {[]tar.Header{{Name: strings.Repeat("a", 300)}}, 400, "file name too long"},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(name, "too many") {
				t.Skip("ten thousand files take their time")
			}
			w := httptest.NewRecorder()
			ready().Handler(&backend{tree: func(context.Context, string) ([]*plan.Plan, error) {
				return nil, errors.New("it was planned")
			}}).ServeHTTP(w, upload(t, c.headers...))
			got := refused(t, w)
			if w.Code != c.code || !strings.Contains(got.Error, c.text) || strings.Contains(got.Error, os.Getenv("TMPDIR")) {
				t.Errorf("%d %+v, want %d %q", w.Code, got, c.code, c.text)
			}
			requireEmpty(t, os.Getenv("TMPDIR"))
		})
	}
}

// deep makes n files, each in folders of its own.
func deep(n, folders int) []tar.Header {
	var list []tar.Header
	for i := range n {
		list = append(list, tar.Header{Name: fmt.Sprint(i) + "/" + strings.Repeat("d/", folders-1) + "f"})
	}
	return list
}

// TestSparseUpload sends a file that is small in the archive and huge on the disk. The
// archive is written by hand, because no writer makes such files.
func TestSparseUpload(t *testing.T) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	// PAX sparse format 1.0: a map of one empty fragment, and the real size of 1 TiB.
	body := "1\n1099511627776\n0\n" + strings.Repeat("\x00", 512-18)
	if err := w.WriteHeader(&tar.Header{
		Name: "GNUSparseFile.0/big", Typeflag: tar.TypeReg, Size: int64(len(body)), Format: tar.FormatPAX, Mode: 0o644,
		PAXRecords: map[string]string{"KTRDR.sparse.major": "1", "KTRDR.sparse.minor": "0", "KTRDR.sparse.name": "big", "KTRDR.sparse.realsize": "1099511627776"},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The writer refuses the names of sparse files; records count their own bytes, so
	// that names of other lengths need other counts.
	text := out.String()
	for _, key := range []string{"major=1", "minor=0", "name=big", "realsize=1099511627776"} {
		old := record("KTRDR.sparse." + key)
		text = strings.Replace(text, old, record("GNU.sparse."+key), 1)
	}
	text = pad(t, text, out.Len())
	r := request("POST", "/v1/plan", text)
	r.Header.Set("Content-Type", "application/x-tar")
	answer := httptest.NewRecorder()
	ready().Handler(&backend{}).ServeHTTP(answer, r)
	if got := refused(t, answer); answer.Code != 413 || !strings.Contains(got.Error, "16777216 bytes") {
		t.Errorf("%d %+v", answer.Code, got)
	}
}

func record(text string) string {
	size := len(text) + 4 // "NN " and the newline
	return fmt.Sprintf("%d %s\n", size, text)
}

// pad makes up for the shorter records at the end of the first PAX block, and corrects the
// header's size and checksum.
func pad(t *testing.T, text string, want int) string {
	t.Helper()
	missing := want - len(text)
	end := strings.Index(text[512:], "\x00") + 512
	text = text[:end] + strings.Repeat("\x00", missing) + text[end:]
	head := []byte(text[:512])
	copy(head[124:135], fmt.Sprintf("%011o", end-512))
	copy(head[148:156], "        ")
	sum := 0
	for _, b := range head {
		sum += int(b)
	}
	copy(head[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return string(head) + text[512:]
}

func TestPlanErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   int
		reason string
	}{
		{errors.New("fleet.yaml:1:1: kind: required"), 422, "DesiredStateInvalid"},
		{fmt.Errorf("load: %w", context.DeadlineExceeded), 504, "Timeout"},
	} {
		w := httptest.NewRecorder()
		ready().Handler(&backend{tree: func(context.Context, string) ([]*plan.Plan, error) { return nil, c.err }}).ServeHTTP(w, upload(t))
		if got := refused(t, w); w.Code != c.code || got.Reason != c.reason {
			t.Errorf("%v: %d %+v", c.err, w.Code, got)
		}
	}
}

// TestUploadsAreBounded starts more uploads than are planned at a time.
func TestUploadsAreBounded(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	h := ready().Handler(&backend{tree: func(context.Context, string) ([]*plan.Plan, error) {
		enter <- struct{}{}
		<-leave
		return []*plan.Plan{}, nil
	}})
	codes := make(chan int, 2)
	for range 2 {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, upload(t))
			codes <- w.Code
		}()
		<-enter
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, upload(t))
	if got := refused(t, w); w.Code != 429 || got.Reason != "Busy" {
		t.Errorf("%d %+v", w.Code, got)
	}
	close(leave)
	if a, b := <-codes, <-codes; a != 200 || b != 200 {
		t.Errorf("the others got %d and %d", a, b)
	}
}
