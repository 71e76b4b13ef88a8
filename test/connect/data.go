package connect

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Data is what the server serves. Its methods are safe for concurrent use, and every
// change moves the versions that a real server would move: of the item on any edit, its
// title and tags included, and the content version of its vault.
type Data struct {
	mu     sync.Mutex
	made   int
	vaults []*vault
}

type vault struct {
	Vault
	items []*Item
}

var (
	errNoVault = errors.New("no such vault")
	errNoItem  = errors.New("no such item")
)

// id makes the id of the n-th thing of a kind: 26 lower-case letters and digits, the same
// in each run.
func (d *Data) id(kind, name string) string {
	d.made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", kind, name, d.made))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26])
}

// AddVault adds a vault and returns its id. Names need not be unique.
func (d *Data) AddVault(v Vault) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.ID == "" {
		v.ID = d.id("vault", v.Name)
	}
	v.Type, v.AttributeVersion, v.ContentVersion = "USER_CREATED", 1, 1
	v.CreatedAt = time.Now().UTC().Truncate(time.Second)
	v.UpdatedAt = v.CreatedAt
	d.vaults = append(d.vaults, &vault{Vault: v})
	return v.ID
}

// RenameVault changes a vault's name, which leaves its content version alone.
func (d *Data) RenameVault(id, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.vault(id)
	if v == nil {
		return errNoVault
	}
	v.Name = name
	v.AttributeVersion++
	return nil
}

// RemoveVault removes a vault with all its items.
func (d *Data) RemoveVault(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vaults = slices.DeleteFunc(d.vaults, func(v *vault) bool { return v.ID == id })
}

// AddItem adds an item to a vault and returns its id. Titles need not be unique.
func (d *Data) AddItem(vaultID string, it Item) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.vault(vaultID)
	if v == nil {
		return "", errNoVault
	}
	if it.ID == "" {
		it.ID = d.id("item", it.Title)
	}
	if it.Category == "" {
		it.Category = "PASSWORD"
	}
	it.Vault, it.Version, it.LastEditedBy = Ref{ID: vaultID}, 1, "KTRDRFIXTURESUSERABCDEFGHI"
	it.CreatedAt = time.Now().UTC().Truncate(time.Second)
	it.UpdatedAt = it.CreatedAt
	d.complete(&it)
	v.items = append(v.items, &it)
	v.touch()
	return it.ID, nil
}

// complete sets what the server sets of an item.
func (d *Data) complete(it *Item) {
	for i := range it.Sections {
		if s := &it.Sections[i]; s.ID == "" {
			s.ID = d.id("section", s.Label)
		}
	}
	for i := range it.Fields {
		f := &it.Fields[i]
		if f.ID == "" {
			f.ID = d.id("field", f.Label)
		}
		if f.Type == "" {
			f.Type = "CONCEALED"
		}
	}
	for i := range it.Files {
		f := &it.Files[i]
		if f.ID == "" {
			f.ID = d.id("file", f.Name)
		}
		if f.Text != "" {
			f.Content, f.Text = []byte(f.Text), ""
		}
		f.Size = len(f.Content)
		f.ContentPath = fmt.Sprintf("/v1/vaults/%s/items/%s/files/%s/content", it.Vault.ID, it.ID, f.ID)
	}
}

// Edit changes an item. The versions move whatever change does.
func (d *Data) Edit(vaultID, itemID string, change func(it *Item)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.vault(vaultID)
	if v == nil {
		return errNoVault
	}
	it := v.item(itemID)
	if it == nil {
		return errNoItem
	}
	*it = clone(it)
	change(it)
	d.complete(it)
	it.Version++
	it.UpdatedAt = time.Now().UTC().Truncate(time.Second)
	v.touch()
	return nil
}

// Set makes the value of the field with a label, outside of sections; a new one is added.
func (d *Data) Set(vaultID, itemID, label, value string) error {
	return d.Edit(vaultID, itemID, func(it *Item) {
		for i := range it.Fields {
			if f := &it.Fields[i]; f.Label == label && f.Section == nil {
				f.Value = value
				return
			}
		}
		it.Fields = append(it.Fields, Field{Label: label, Value: value})
	})
}

// RemoveItem removes an item; one that is gone is no error.
func (d *Data) RemoveItem(vaultID, itemID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.vault(vaultID); v != nil {
		v.items = slices.DeleteFunc(v.items, func(it *Item) bool { return it.ID == itemID })
		v.touch()
	}
}

// Vaults returns all vaults.
func (d *Data) Vaults() []Vault {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Vault, 0, len(d.vaults))
	for _, v := range d.vaults {
		list = append(list, v.summary())
	}
	return list
}

// Items returns copies of a vault's items.
func (d *Data) Items(vaultID string) ([]Item, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.vault(vaultID)
	if v == nil {
		return nil, errNoVault
	}
	list := make([]Item, 0, len(v.items))
	for _, it := range v.items {
		list = append(list, clone(it))
	}
	return list, nil
}

func (d *Data) vault(id string) *vault {
	for _, v := range d.vaults {
		if v.ID == id {
			return v
		}
	}
	return nil
}

func (v *vault) item(id string) *Item {
	for _, it := range v.items {
		if it.ID == id {
			return it
		}
	}
	return nil
}

func (v *vault) touch() {
	v.ContentVersion++
	v.UpdatedAt = time.Now().UTC().Truncate(time.Second)
}

func (v *vault) summary() Vault {
	s := v.Vault
	s.Items = len(v.items)
	return s
}

// clone copies what an edit may change.
func clone(it *Item) Item {
	c := *it
	c.Tags, c.Sections, c.Fields, c.Files = slices.Clone(c.Tags), slices.Clone(c.Sections), slices.Clone(c.Fields), slices.Clone(c.Files)
	return c
}
