package connect

import (
	"maps"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// vaultMemory is what was read of a vault when it had a content version.
type vaultMemory struct {
	content int
	readAt  time.Time
	items   map[string]*itemMemory // by id
	// answers by reference, of all items.
	answers map[string]secrets.Result
}

// itemMemory is what was read of an item: the answers to references, and nothing else of it.
type itemMemory struct {
	version int
	// generation counts values that changed although the version did not.
	generation int
	answers    map[string]secrets.Result
}

func newVaultMemory(content int) *vaultMemory {
	return &vaultMemory{content: content, readAt: time.Now(), items: map[string]*itemMemory{}, answers: map[string]secrets.Result{}}
}

// stands tells whether nothing can have changed since, as far as versions tell and as long
// as they are trusted. A version of 0 is one that the server did not tell.
func (m *vaultMemory) stands(content int, trust time.Duration) bool {
	return content != 0 && m.content == content && m.young(trust)
}

func (m *vaultMemory) young(trust time.Duration) bool { return time.Since(m.readAt) <= trust }

// covers tells whether all wants have an answer among answers.
func covers(answers map[string]secrets.Result, wants []want) bool {
	for _, w := range wants {
		if _, there := answers[w.text]; !there {
			return false
		}
	}
	return true
}

// keep notes what is known about an item now.
func (m *vaultMemory) keep(id string, it *itemMemory) {
	m.items[id] = it
	maps.Copy(m.answers, it.answers)
}

// forget drops the answers to all but the wanted references.
func forget(known map[string]*vaultMemory, wants []want) {
	wanted := make(map[string]bool, len(wants))
	for _, w := range wants {
		wanted[w.text] = true
	}
	unwanted := func(ref string, _ secrets.Result) bool { return !wanted[ref] }
	for _, v := range known {
		maps.DeleteFunc(v.answers, unwanted)
		for _, it := range v.items {
			maps.DeleteFunc(it.answers, unwanted)
		}
	}
}
