package agent

import (
	"errors"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// keptSecrets remembers on disk and for the planner which values containers keep.
type keptSecrets struct{ a *Agent }

// SetKept implements apply.Keeper. The disk comes first: who is told of a rotation may act on it.
func (k keptSecrets) SetKept(key string, kept api.Kept) error {
	err := k.a.store.SetKept(key, kept)
	k.a.cache.SetKept(key, kept)
	return err
}

// resumeKept puts to work what is remembered of kept secrets. The values that are in force
// are looked for where they were delivered: the provider may have others by now. What a
// rotation left behind whose agent died is removed.
func (a *Agent) resumeKept() {
	known := a.store.Kept()
	for key, kept := range known {
		a.cache.SetKept(key, kept)
	}
	a.secrets.Needed(a.isKept)
	var failed error
	for folder := range a.cache.Snapshot().Folders {
		failed = errors.Join(failed, a.folders.Withdraw(folder))
		if len(known) == 0 {
			continue
		}
		for _, text := range a.folders.Texts(folder) {
			a.restoreKept(known, text)
		}
	}
	if failed != nil {
		a.log.Error("values of a rotation stay in the secret folders", "err", failed)
	}
}

// restoreKept takes a text back that is the value of a kept secret.
func (a *Agent) restoreKept(known map[string]api.Kept, text string) {
	for key, kept := range known {
		ref := keptRef(key)
		if digest := a.secrets.DigestOf(ref, text); digest == kept.Accepted || digest == kept.Tried {
			a.secrets.Restore(ref, text)
		}
	}
}

// isKept says that a container keeps the value of that digest.
func (a *Agent) isKept(ref, digest string) bool {
	for key, kept := range a.cache.Snapshot().Kept {
		if keptRef(key) == ref && (kept.Accepted == digest || kept.Tried == digest) {
			return true
		}
	}
	return false
}

// keptRef is the reference in an api.KeptKey: neither project nor container has a slash.
func keptRef(key string) string {
	parts := strings.SplitN(key, "/", 3)
	return parts[len(parts)-1]
}

// keeps says that the project of an api.KeptKey is still wanted. A container of it that is not,
// because it is scaled down, may come back to the data that it left.
func keeps(d *api.Desired, key string) bool {
	project, _, _ := strings.Cut(key, "/")
	return slices.ContainsFunc(d.Stacks, func(s api.Stack) bool { return s.Project == project })
}
