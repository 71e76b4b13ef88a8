package source_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"

	"ktrdr.io/fleet/pkg/source"
)

// FuzzObjects checks out a repository whose objects are anything. Nothing appears outside of the
// folder, and nothing but files, folders and links inside of it.
func FuzzObjects(f *testing.F) {
	// In trees and in the commit these stand for the hashes of the other objects.
	const blob, tree = "BLOBBLOBBLOBBLOBBLOB", "TREETREETREETREETREE"
	const head = "author A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nmessage\n"
	f.Add([]byte(head), []byte("100644 a\x00"+blob+"120000 l\x00"+blob+"40000 d\x00"+tree), []byte("100755 f\x00"+blob), []byte("../../etc"))
	f.Add([]byte(head), []byte("120000 d\x00"+blob+"40000 d\x00"+tree), []byte("100644 f\x00"+blob), []byte(".."))
	f.Add([]byte(head), []byte("100644 ../x\x00"+blob+"100644 .git\x00"+blob), []byte(""), []byte("x"))
	f.Add([]byte(head), []byte("160000 s\x00"+blob), []byte("40000 \x00"), []byte("version https://git-lfs.github.com/spec/v1\n"))
	f.Add([]byte("tree x\n"), []byte("999999999999999999999 a\x00"), []byte("100644"), []byte{})
	f.Fuzz(func(t *testing.T, commit, outer, inner, content []byte) {
		store := memory.NewStorage()
		put := func(kind plumbing.ObjectType, data []byte) plumbing.Hash {
			obj := &plumbing.MemoryObject{}
			obj.SetType(kind)
			if _, err := obj.Write(data); err != nil {
				t.Fatal(err)
			}
			h, err := store.SetEncodedObject(obj)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		file := put(plumbing.BlobObject, content)
		folder := put(plumbing.TreeObject, bytes.ReplaceAll(inner, []byte(blob), file[:]))
		root := put(plumbing.TreeObject, bytes.ReplaceAll(bytes.ReplaceAll(outer, []byte(blob), file[:]), []byte(tree), folder[:]))
		around := t.TempDir()
		dir := filepath.Join(around, "tree")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := source.CheckOut(t.Context(), store, put(plumbing.CommitObject, append([]byte("tree "+root.String()+"\n"), commit...)), dir)
		if beside, lost := os.ReadDir(around); lost != nil || len(beside) != 1 {
			t.Fatalf("beside the tree there is %v, %v", beside, lost)
		}
		if err != nil {
			return
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
