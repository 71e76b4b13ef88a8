package connect

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
)

// fixture is a file of vaults.
type fixture struct {
	Vaults []fixtureVault `yaml:"vaults"`
}

type fixtureVault struct {
	ID          string `yaml:"id"`
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Items       []Item `yaml:"items"`
}

// Load puts the content of a fixture file into an empty server. A field is in the section
// whose id it names. Ids that are left out are made from names and stay the same.
//
//	vaults:
//	  - name: KTRDR Homelab Secrets
//	    items:
//	      - title: ktrdr-homelab-core
//	        fields:
//	          - {label: db_username, type: STRING, value: ktrdr}
//	          - {label: db_password, value: "…"}
func (d *Data) Load(path string) error {
	all, err := readFixture(path)
	if err != nil {
		return err
	}
	for _, v := range all.Vaults {
		id := d.AddVault(Vault{ID: v.ID, Name: v.Name, Description: v.Description})
		for _, it := range v.Items {
			if _, err := d.AddItem(id, it); err != nil {
				return fmt.Errorf("fixture %s: item %s: %w", path, it.Title, err)
			}
		}
	}
	return nil
}

// Reload makes the items of a loaded server those of the fixture again, changing only what
// differs: items are compared by vault and title.
func (d *Data) Reload(path string) error {
	all, err := readFixture(path)
	if err != nil {
		return err
	}
	for _, v := range all.Vaults {
		for _, known := range d.Vaults() {
			if known.Name == v.Name {
				if err := d.update(known.ID, v.Items); err != nil {
					return fmt.Errorf("fixture %s: vault %s: %w", path, v.Name, err)
				}
			}
		}
	}
	return nil
}

func (d *Data) update(vaultID string, items []Item) error {
	have, err := d.Items(vaultID)
	if err != nil {
		return err
	}
	for _, want := range items {
		for _, it := range have {
			if it.Title != want.Title || sameFields(it.Fields, want.Fields) {
				continue
			}
			err := d.Edit(vaultID, it.ID, func(it *Item) { it.Fields = keepIDs(it.Fields, want.Fields) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func sameFields(have, want []Field) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if have[i].Label != want[i].Label || have[i].Value != want[i].Value {
			return false
		}
	}
	return true
}

func keepIDs(have, want []Field) []Field {
	for i := range want {
		for _, f := range have {
			if want[i].ID == "" && f.Label == want[i].Label {
				want[i].ID = f.ID
			}
		}
	}
	return want
}

func readFixture(path string) (*fixture, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read fixture: %w", err)
	}
	var all fixture
	if err := yaml.UnmarshalWithOptions(data, &all, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("fixture %s: %s", path, yaml.FormatError(err, false, true))
	}
	return &all, nil
}
