package desired

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

const (
	// maxScanned bounds what is read of one file, in bytes; a checkout has less in all.
	maxScanned = 64 << 20
	// maxPlaintexts is how many secrets are told of one file.
	maxPlaintexts = 10
)

// secretMarks are in every text that secretText finds: files without one, which are nearly all,
// are done in no time.
var secretMarks = [][]byte{ //nolint:gochecknoglobals // a constant that Go can't write as one
	[]byte("PRIVATE KEY-----"), []byte("ghp_"), []byte("gho_"), []byte("ghu_"), []byte("ghs_"), []byte("ghr_"), []byte("github_pat_"),
	[]byte("glpat-"), []byte("xox"), []byte("AKIA"), []byte("eyJ"),
}

// CheckFiles looks into every file of a repository for what is a secret whatever its name says:
// blocks of private keys and tokens with a known prefix. Validate looks at what services get;
// this is about all the rest that a push brings, such as a key that lies beside a Compose file.
// A name in plaintextAllowed lets the lines with it be, and that of a file the whole of it. The
// error is *Error.
func CheckFiles(ctx context.Context, root string) error {
	t, err := openRepository(root)
	if err != nil {
		return err
	}
	defer t.close() //nolint:errcheck // a folder that was only read
	s, report := &FileScan{tree: t}, &report{}
	err = fs.WalkDir(t.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err := cmp.Or(err, ctx.Err()); err != nil || !entry.Type().IsRegular() {
			return err
		}
		problems, err := s.check(name)
		for _, p := range problems {
			report.add(p)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look for secrets in files: %w", err)
	}
	_, err = report.result(ctx)
	return err
}

// FileScan looks for secrets in files one by one. It belongs to one goroutine. allowed is read
// when there is something to allow.
type FileScan struct {
	tree    *tree
	allowed []string
	known   bool
}

func (s *FileScan) check(name string) ([]Problem, error) {
	file, err := s.tree.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, maxScanned))
	if err != nil {
		return nil, err
	}
	return s.texts(name, data, "replace it by a reference such as op://vault/item/field and take it out of the commit (git commit --amend, git rebase -i), or "), nil
}

// texts finds what is a secret whatever its name says. advice goes before what lets it be.
func (s *FileScan) texts(name string, data []byte, advice string) []Problem {
	if !slices.ContainsFunc(secretMarks, func(mark []byte) bool { return bytes.Contains(data, mark) }) {
		return nil
	}
	var out []Problem
	for _, at := range secretText.FindAllIndex(data, maxPlaintexts) {
		begin := bytes.LastIndexByte(data[:at[0]], '\n') + 1
		line, _, _ := bytes.Cut(data[begin:], []byte("\n"))
		if s.isAllowed(path.Base(name), line) {
			continue
		}
		out = append(out, Problem{
			File: name, Line: 1 + bytes.Count(data[:begin], []byte("\n")), Column: at[0] - begin + 1,
			Message: "holds a secret in plain text: " + advice + "list " + path.Base(name) + " in plaintextAllowed of fleet.yaml if it is none",
		})
	}
	return out
}

func (s *FileScan) isAllowed(file string, line []byte) bool {
	return s.allows(file) ||
		slices.ContainsFunc(s.allowed, func(name string) bool { return bytes.Contains(line, []byte(name)) })
}

// allows tells whether a name is in one of the lists.
func (s *FileScan) allows(name string) bool {
	if !s.known {
		s.known = true
		s.readAllowed()
	}
	return slices.Contains(s.allowed, name)
}

// readAllowed reads all lists. What is wrong with the files is Validate's to tell.
func (s *FileScan) readAllowed() {
	ignored := &report{}
	if f, ok := s.tree.readFleet(ignored); ok {
		s.allowed = append(s.allowed, f.Spec.PlaintextAllowed...)
	}
	v := &validation{tree: s.tree, report: ignored, nodes: map[string]*node{}, stacks: map[string]*stack{}}
	v.readNodes()
	v.readStacks()
	for _, n := range v.nodes {
		s.allowed = append(s.allowed, n.Spec.PlaintextAllowed...)
	}
	for _, st := range v.stacks {
		s.allowed = append(s.allowed, st.Spec.PlaintextAllowed...)
	}
}
