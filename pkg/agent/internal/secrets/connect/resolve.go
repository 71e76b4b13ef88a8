package connect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/1Password/connect-sdk-go/onepassword"
	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// resolveVault answers from memory while the vault's content version stands, and else
// reads what changed. The version was read before the items: what changes in between moves
// it again, and the next look finds it. What could not be answered is asked for again at
// every look, because a server that is still syncing has its versions before its data.
func (p *resolver) resolveVault(ctx context.Context, v *onepassword.Vault, wants []want) map[string]secrets.Result {
	known := p.known[v.ID]
	if known == nil {
		known = newVaultMemory(0)
	}
	if known.stands(v.ContentVersion, p.recheck) && covers(known.answers, wants) {
		return known.answers
	}
	items, err := p.client.items(ctx, v.ID)
	if err != nil {
		return fail(ctx, wants, gone(err, "vaultNotFound", "the vault went away while it was read"))
	}
	results := map[string]secrets.Result{}
	byItem := map[*listed][]want{}
	for _, w := range wants {
		it, failed := findItem(items, w.ref.Item)
		if failed == nil && !uuid.MatchString(it.ID) {
			failed = absent("itemNotFound", "the server lists it with a malformed id")
		}
		if failed != nil {
			results[w.text] = missing(w, failed)
			continue
		}
		byItem[it] = append(byItem[it], w)
	}
	now := newVaultMemory(v.ContentVersion)
	if known.young(p.recheck) {
		now.readAt = known.readAt
	}
	maps.Copy(results, p.readItems(ctx, v.ID, byItem, memories{known, now}))
	p.known[v.ID] = now
	return results
}

// memories are those of a vault from before and from now on.
type memories struct{ known, now *vaultMemory }

// readItems reads the items that changed, a few at a time.
func (p *resolver) readItems(ctx context.Context, vault string, byItem map[*listed][]want, m memories) map[string]secrets.Result {
	results := map[string]secrets.Result{}
	maps.DeleteFunc(byItem, func(it *listed, wants []want) bool {
		old := m.known.items[it.ID]
		same := old != nil && it.Version != 0 && old.version == it.Version && m.known.young(p.recheck) && covers(old.answers, wants)
		if same {
			maps.Copy(results, old.answers)
			m.now.keep(it.ID, old)
		}
		return same
	})
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(parallel)
	for it, wants := range byItem {
		group.Go(func() error {
			answers, memory := p.readItem(ctx, vault, it.ID, wants)
			mu.Lock()
			defer mu.Unlock()
			if memory != nil {
				memory.follow(it.ID, m.known.items[it.ID], answers)
				m.now.keep(it.ID, memory)
			}
			maps.Copy(results, answers)
			return nil
		})
	}
	_ = group.Wait() // failures are in the results
	return results
}

// readItem reads one item and finds the answers in it. There is nothing to remember when
// it could not be read.
func (p *resolver) readItem(ctx context.Context, vault, id string, wants []want) (map[string]secrets.Result, *itemMemory) {
	it, err := p.client.item(ctx, vault, id)
	if err != nil {
		return fail(ctx, wants, gone(err, "itemNotFound", "the item went away while it was read")), nil
	}
	results := make(map[string]secrets.Result, len(wants))
	memory := &itemMemory{version: it.Version, answers: map[string]secrets.Result{}}
	for _, w := range wants {
		results[w.text] = p.answer(ctx, vault, it, w)
		// A one-time code is old in a moment, and what failed may be there the next time.
		if results[w.text].Err == nil && !w.oneTime() {
			memory.answers[w.text] = results[w.text]
		}
	}
	return results, memory
}

func (p *resolver) answer(ctx context.Context, vault string, it *onepassword.Item, w want) secrets.Result {
	at, failed := findField(it, &w.ref)
	if failed != nil {
		return missing(w, failed)
	}
	var text string
	var content bool
	if at.file == nil {
		text, failed = fieldText(at.field, w.ref.Attribute)
	} else {
		text, content, failed = fileText(at.file, w.ref.Attribute)
	}
	if failed != nil {
		return missing(w, failed)
	}
	if content {
		if !uuid.MatchString(at.file.ID) {
			return missing(w, absent("fieldNotFound", "the server lists the file with a malformed id"))
		}
		data, err := p.client.content(ctx, vault, it.ID, at.file.ID)
		if err != nil {
			return fail(ctx, []want{w}, gone(err, "fieldNotFound", "the file went away while it was read"))[w.text]
		}
		text = string(data)
	}
	if text == "" {
		return missing(w, secrets.ErrEmpty)
	}
	return secrets.Result{Value: secrets.NewValue(text)}
}

// follow gives the answers their versions. One moves with the item's, and where a value
// changed although that did not.
func (m *itemMemory) follow(id string, old *itemMemory, answers map[string]secrets.Result) {
	if old != nil {
		m.generation = old.generation
		for ref, answer := range m.answers {
			if before, there := old.answers[ref]; there && old.version == m.version && !before.Value.Equal(answer.Value) {
				m.generation = old.generation + 1
			}
		}
	}
	for ref, answer := range answers {
		if answer.Err != nil {
			continue
		}
		answer.Version = fmt.Sprintf("%s-%d-%d", id, m.version, m.generation)
		answers[ref] = answer
		if _, kept := m.answers[ref]; kept {
			m.answers[ref] = answer
		}
	}
}

// gone turns "not found" into the error of the thing that was asked for.
func gone(err error, kind, text string) error {
	if f, ok := errors.AsType[*fault](err); ok && f.kind == notFound {
		return absent(kind, text)
	}
	return err
}
