package edit

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"ktrdr.io/fleet/pkg/desired"
)

// maxListed bounds how many names an error lists.
const maxListed = 20

// exists is false only for what is not there; what can't be read is told when it is read.
func (w *workspace) exists(name string) bool {
	_, err := w.root.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// unknown says which nodes or stacks there are, where the one that is asked for is not. Its file
// would be folder + name + suffix.
func (w *workspace) unknown(kind, name, folder, suffix string) error {
	at := desired.Problem{File: folder + name + suffix, Line: 1, Column: 1}
	var names []string
	if found, err := fs.Glob(w.root.FS(), folder+"*"+suffix); err == nil {
		for _, file := range found {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(file, folder), suffix))
		}
	}
	if len(names) == 0 {
		return fail(at, "there is no %s %s, and no other", kind, name)
	}
	return fail(at, "there is no %s %s; there %s", kind, name, listed(names))
}

// listed is a list behind "there".
func listed(names []string) string {
	verb := "are "
	if len(names) == 1 {
		verb = "is "
	}
	if more := len(names) - maxListed; more > 0 {
		return verb + strings.Join(names[:maxListed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return verb + strings.Join(names, ", ")
}
