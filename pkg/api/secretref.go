package api

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Schemes of secret references.
const (
	SchemeOnePassword = "op"
	SchemeAzure       = "akv"
)

// SecretReference is a parsed secret reference.
type SecretReference struct {
	// Scheme is SchemeOnePassword or SchemeAzure.
	Scheme string
	Vault  string
	// Item, Section, Field and Attribute belong to 1Password; names or ids, compared
	// without regard to case. Section and Attribute may be empty.
	Item, Section, Field, Attribute string
	// Secret and Version belong to Azure Key Vault; Version may be empty.
	Secret, Version string
}

var (
	onePasswordName = regexp.MustCompile(`^[A-Za-z0-9_.-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?$`)
	azureVault      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]$`)
	azureName       = regexp.MustCompile(`^[A-Za-z0-9-]{1,127}$`)
	azureVersion    = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
	attributeQuery  = regexp.MustCompile(`^attribute=(type|value|title|id|purpose|otp|content|size|name)$`)
)

const maxReference = 1024

// IsReference tells whether text begins like a secret reference, well formed or not.
func IsReference(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && (strings.EqualFold(scheme, SchemeOnePassword) || strings.EqualFold(scheme, SchemeAzure))
}

// ParseReference reads op://vault/item[/section]/field[?attribute=…] and
// akv://vault/name[/version]. Names may hold spaces, so url.Parse is of no use. Errors
// name the part at fault but do not repeat the text, which may be a pasted secret.
func ParseReference(text string) (SecretReference, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || !IsReference(text) {
		return SecretReference{}, errors.New("not a secret reference: write op://vault/item/field or akv://vault/name")
	}
	if len(text) > maxReference {
		return SecretReference{}, fmt.Errorf("the secret reference is longer than %d characters", maxReference)
	}
	if strings.EqualFold(scheme, SchemeAzure) {
		return parseAzure(rest)
	}
	return parseOnePassword(rest)
}

func parseOnePassword(rest string) (SecretReference, error) {
	ref := SecretReference{Scheme: SchemeOnePassword}
	rest, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery {
		found := attributeQuery.FindStringSubmatch(query)
		if found == nil {
			return ref, errors.New("the part after ? must be attribute= and one of type, value, title, id, purpose, otp, content, size, name")
		}
		ref.Attribute = found[1]
	}
	segments := strings.Split(rest, "/")
	switch len(segments) {
	case 3:
		ref.Vault, ref.Item, ref.Field = segments[0], segments[1], segments[2]
	case 4:
		ref.Vault, ref.Item, ref.Section, ref.Field = segments[0], segments[1], segments[2], segments[3]
	case 2:
		return ref, errors.New("the secret reference names a vault and an item but no field: write op://vault/item/field")
	default:
		return ref, fmt.Errorf("the secret reference has %d parts: write op://vault/item/field or op://vault/item/section/field", len(segments))
	}
	for i, segment := range segments {
		if !onePasswordName.MatchString(segment) {
			return ref, fmt.Errorf("part %d of the secret reference %s", i+1, segmentFault(segment))
		}
	}
	return ref, nil
}

func segmentFault(segment string) string {
	if segment == "" {
		return "is empty"
	}
	if strings.TrimSpace(segment) != segment {
		return "begins or ends with a space"
	}
	return "has characters other than letters, digits, - _ . and space: use the id of the vault, item or field instead of its name"
}

func parseAzure(rest string) (SecretReference, error) {
	ref := SecretReference{Scheme: SchemeAzure}
	segments := strings.Split(rest, "/")
	if len(segments) < 2 || len(segments) > 3 {
		return ref, errors.New("write akv://vault/name or akv://vault/name/version")
	}
	ref.Vault, ref.Secret = segments[0], segments[1]
	if !azureVault.MatchString(ref.Vault) {
		return ref, errors.New("the vault of an akv reference has 3 to 24 letters, digits and -, and begins with a letter")
	}
	if strings.Contains(ref.Secret, "_") {
		return ref, errors.New("names in Azure Key Vault have no underscore: write - instead")
	}
	if !azureName.MatchString(ref.Secret) {
		return ref, errors.New("the name of an akv reference has 1 to 127 letters, digits and -")
	}
	if len(segments) == 3 {
		ref.Version = segments[2]
		if !azureVersion.MatchString(ref.Version) {
			return ref, errors.New("the version of an akv reference has 32 hexadecimal digits")
		}
	}
	return ref, nil
}

// String writes the reference in its canonical form.
func (r SecretReference) String() string {
	if r.Scheme == SchemeAzure {
		parts := []string{r.Vault, r.Secret}
		if r.Version != "" {
			parts = append(parts, r.Version)
		}
		return SchemeAzure + "://" + strings.Join(parts, "/")
	}
	parts := []string{r.Vault, r.Item}
	if r.Section != "" {
		parts = append(parts, r.Section)
	}
	text := SchemeOnePassword + "://" + strings.Join(append(parts, r.Field), "/")
	if r.Attribute != "" {
		text += "?attribute=" + r.Attribute
	}
	return text
}
