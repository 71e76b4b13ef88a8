package connect

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/1Password/connect-sdk-go/onepassword"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// noSection is the id that the apps give to the place of fields outside of sections.
const noSection = "add more"

// refError is an error of one reference, by the names of 1Password's SDKs.
type refError struct {
	kind, fix string
	is        error
}

func (e *refError) Error() string { return e.kind + ": " + e.fix }

func (e *refError) Unwrap() error { return e.is }

func absent(kind, fix string) *refError    { return &refError{kind, fix, secrets.ErrNotFound} }
func ambiguous(kind, fix string) *refError { return &refError{kind, fix, secrets.ErrAmbiguous} }
func unfit(kind, fix string) *refError     { return &refError{kind, fix, secrets.ErrInvalid} }

// named tells whether a part of a reference means a thing: by id or by name, without
// regard to case, as references are.
func named(part, id, name string) bool {
	return strings.EqualFold(part, id) || strings.EqualFold(part, name)
}

// findVault looks among the vaults that the token may read. An id comes before names.
func findVault(vaults []onepassword.Vault, part string) (*onepassword.Vault, *refError) {
	var found []*onepassword.Vault
	for i := range vaults {
		v := &vaults[i]
		if strings.EqualFold(part, v.ID) {
			return v, nil
		}
		if strings.EqualFold(part, v.Name) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return nil, absent("vaultNotFound", fmt.Sprintf("none of the %d vaults that the token may read has this name or id", len(vaults)))
	case 1:
		return found[0], nil
	}
	return nil, ambiguous("tooManyVaults", fmt.Sprintf("%d vaults have this name: write the id of one", len(found)))
}

// findItem looks among the items of a vault, without those that are archived or deleted.
func findItem(items []listed, part string) (*listed, *refError) {
	var found []*listed
	for i := range items {
		it := &items[i]
		if it.State != "" {
			continue
		}
		if strings.EqualFold(part, it.ID) {
			return it, nil
		}
		if strings.EqualFold(part, it.Title) {
			found = append(found, it)
		}
	}
	switch len(found) {
	case 0:
		return nil, absent("itemNotFound", "no item of the vault has this title or id")
	case 1:
		return found[0], nil
	}
	return nil, ambiguous("tooManyItems", fmt.Sprintf("%d items of the vault have this title: write the id of one", len(found)))
}

// found is a field or a file of an item.
type found struct {
	field *onepassword.ItemField
	file  *onepassword.File
}

// findField looks for a field or a file. Without a section in the reference those outside
// of sections come first; only when there is none, one inside of a section is meant.
func findField(it *onepassword.Item, ref *api.SecretReference) (found, *refError) {
	sections := map[string]string{} // label by id
	for _, s := range it.Sections {
		if s != nil {
			sections[s.ID] = s.Label
		}
	}
	if ref.Section != "" && !hasSection(it, sections, ref.Section) {
		return found{}, absent("noMatchingSections", "no section of the item has this label or id")
	}
	var outside, inside []found
	add := func(section *onepassword.ItemSection, f found) {
		switch {
		case ref.Section != "" && section != nil && named(ref.Section, section.ID, label(section, sections)):
			inside = append(inside, f)
		case ref.Section == "" && isOutside(section, sections):
			outside = append(outside, f)
		case ref.Section == "":
			inside = append(inside, f)
		}
	}
	for _, f := range it.Fields {
		if f != nil && named(ref.Field, f.ID, f.Label) {
			add(f.Section, found{field: f})
		}
	}
	for _, f := range it.Files {
		if f != nil && named(ref.Field, f.ID, f.Name) {
			add(f.Section, found{file: f})
		}
	}
	if len(outside) == 0 {
		outside = inside
	}
	switch len(outside) {
	case 0:
		return found{}, absent("fieldNotFound", "no field or file of the item has this name or id there")
	case 1:
		return outside[0], nil
	}
	return found{}, ambiguous("tooManyMatchingFields", fmt.Sprintf("%d fields or files have this name: add the section, or write the id of one", len(outside)))
}

// label of a section: fields carry its id, the item lists ids with labels.
func label(s *onepassword.ItemSection, sections map[string]string) string {
	if s.Label != "" {
		return s.Label
	}
	return sections[s.ID]
}

func isOutside(s *onepassword.ItemSection, sections map[string]string) bool {
	return s == nil || s.ID == "" || s.ID == noSection && label(s, sections) == ""
}

func hasSection(it *onepassword.Item, sections map[string]string, part string) bool {
	for id, label := range sections {
		if named(part, id, label) {
			return true
		}
	}
	for _, f := range it.Fields {
		if f != nil && f.Section != nil && named(part, f.Section.ID, f.Section.Label) {
			return true
		}
	}
	return false
}

// fieldText is what an attribute of a field holds.
func fieldText(f *onepassword.ItemField, attribute string) (string, *refError) {
	switch strings.ToLower(attribute) {
	case "", "value":
		return f.Value, nil
	case "type":
		return string(f.Type), nil
	case "title":
		return f.Label, nil
	case "id":
		return f.ID, nil
	case "purpose":
		return string(f.Purpose), nil
	case "otp":
		return oneTimeCode(f)
	}
	return "", unfit("fieldNotFound", "attribute="+attribute+" is one of files, and this is a field")
}

func oneTimeCode(f *onepassword.ItemField) (string, *refError) {
	if f.Type != "TOTP" && f.Type != onepassword.FieldTypeOTP {
		return "", unfit("incompatibleTOTPQueryParameterField", "attribute=otp is one of one-time password fields, and this is another field")
	}
	if f.TOTP == "" {
		return "", absent("unableToGenerateTotpCode", "the server gives no code for this field: is its setup key in order?")
	}
	return f.TOTP, nil
}

// fileText is what an attribute of a file holds; its content has to be asked for.
func fileText(f *onepassword.File, attribute string) (text string, content bool, failed *refError) {
	switch strings.ToLower(attribute) {
	case "", "content", "value":
		return "", true, nil
	case "id":
		return f.ID, false, nil
	case "name", "title":
		return f.Name, false, nil
	case "size":
		return strconv.Itoa(f.Size), false, nil
	case "type":
		return string(onepassword.FieldTypeFile), false, nil
	}
	return "", false, unfit("fieldNotFound", "attribute="+attribute+" is one of fields, and this is a file")
}
