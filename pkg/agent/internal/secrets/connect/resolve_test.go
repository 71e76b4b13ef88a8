package connect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	server "ktrdr.io/fleet/test/connect"
)

// rich is an item with everything that references can point at.
func rich() server.Item {
	in := func(id string) *server.Ref { return &server.Ref{ID: id} }
	return server.Item{
		ID: strings.Repeat("r", 26), Title: "Rich.item-1", Category: "LOGIN",
		Sections: []server.Section{{ID: "apiapiapi", Label: "API"}, {ID: "twin1", Label: "Twin"}, {ID: "twin2", Label: "twin"}, {ID: "nolabel"}},
		Fields: []server.Field{
			{ID: "username", Label: "username", Type: "STRING", Purpose: "USERNAME", Value: "user"},
			{ID: "password", Label: "password", Purpose: "PASSWORD", Value: "outside"},
			{Label: "password", Section: in("apiapiapi"), Value: "inside"},
			{ID: "keyid", Label: "key", Section: in("apiapiapi"), Value: "api key"},
			{Label: "both", Section: in("twin1"), Value: "one"},
			{Label: "both", Section: in("twin2"), Value: "two"},
			{Label: "single", Section: in("twin2"), Value: "single"},
			{Label: "nameless", Section: in("nolabel"), Value: "nameless"},
			{ID: "same1", Label: "same", Value: "1"},
			{ID: "same2", Label: "Same", Value: "2"},
			{Label: "empty"},
			{Label: "code", Type: "TOTP", Value: "otpauth://x", TOTP: "123456"},
			{Label: "badcode", Type: "TOTP", Value: "otpauth://y"},
		},
		Files: []server.File{{ID: strings.Repeat("f", 26), Name: "ca.pem", Text: "PEM"}, {Name: "inside.txt", Section: in("apiapiapi"), Text: "file in a section"}},
	}
}

func TestReferences(t *testing.T) {
	for name, quirks := range map[string]server.Quirks{
		"plain":                                  {},
		`"add more", any order`:                  {AddMore: true, Shuffle: true},
		"no versions, late, false 401, some 403": {NoVersions: true, FalseUnauthorized: 1, ForbiddenEvery: 7},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, rich())
			w.add(t, server.Item{Title: "archived", State: "ARCHIVED", Fields: []server.Field{{Label: "f", Value: "v"}}})
			w.add(t, server.Item{Title: "twice", Fields: []server.Field{{Label: "f", Value: "1"}}})
			w.add(t, server.Item{Title: "TWICE", Fields: []server.Field{{Label: "f", Value: "2"}}})
			other := w.AddVault(server.Vault{Name: "Two"})
			third := w.AddVault(server.Vault{Name: "two"})
			w.grant(t, server.Grant{Vaults: []string{w.vault, other, third}})
			w.quirks(quirks)
			checkReferences(t, w, other)
		})
	}
}

func checkReferences(t *testing.T, w *world, other string) {
	t.Helper()
	const item = "op://" + vaultName + "/Rich.item-1/"
	values := map[string]string{
		item + "password": "outside",
		item + "PassWord": "outside",
		"OP://ktrdr homelab secrets/RICH.ITEM-1/username": "user",
		item + "API/password":                             "inside",
		item + "api/KEY":                                  "api key",
		item + "apiapiapi/keyid":                          "api key",
		item + "key":                                      "api key", // the only one, though in a section
		item + "twin/single":                              "single",
		item + "twin1/both":                               "one",
		item + "nolabel/nameless":                         "nameless",
		item + "same1":                                    "1",
		item + "password?attribute=value":                 "outside",
		item + "password?attribute=type":                  "CONCEALED",
		item + "username?attribute=purpose":               "USERNAME",
		item + "username?attribute=id":                    "username",
		item + "username?attribute=title":                 "username",
		item + "code?attribute=otp":                       "123456",
		item + "code":                                     "otpauth://x",
		item + "ca.pem":                                   "PEM",
		item + "CA.pem?attribute=content":                 "PEM",
		item + "ca.pem?attribute=size":                    "3",
		item + "ca.pem?attribute=name":                    "ca.pem",
		item + "ca.pem?attribute=type":                    "FILE",
		item + "api/inside.txt":                           "file in a section",
		item + strings.Repeat("f", 26):                    "PEM",
		"op://" + w.vault + "/" + strings.Repeat("R", 26) + "/username": "user",
	}
	type failure struct {
		kind string
		is   error
	}
	failures := map[string]failure{
		"op://Nowhere/i/f":                  {"vaultNotFound", secrets.ErrNotFound},
		"op://Far away/i/f":                 {"vaultNotFound", secrets.ErrNotFound}, // out of the token's scope
		"op://Two/i/f":                      {"tooManyVaults", secrets.ErrAmbiguous},
		"op://" + other + "/i/f":            {"itemNotFound", secrets.ErrNotFound},
		"op://" + vaultName + "/none/f":     {"itemNotFound", secrets.ErrNotFound},
		"op://" + vaultName + "/archived/f": {"itemNotFound", secrets.ErrNotFound},
		"op://" + vaultName + "/twice/f":    {"tooManyItems", secrets.ErrAmbiguous},
		item + "none":                       {"fieldNotFound", secrets.ErrNotFound},
		item + "API/username":               {"fieldNotFound", secrets.ErrNotFound},
		item + "none/password":              {"noMatchingSections", secrets.ErrNotFound},
		item + "same":                       {"tooManyMatchingFields", secrets.ErrAmbiguous},
		item + "both":                       {"tooManyMatchingFields", secrets.ErrAmbiguous},
		item + "twin/both":                  {"tooManyMatchingFields", secrets.ErrAmbiguous},
		item + "empty":                      {"", secrets.ErrEmpty},
		item + "password?attribute=otp":     {"incompatibleTOTPQueryParameterField", secrets.ErrInvalid},
		item + "badcode?attribute=otp":      {"unableToGenerateTotpCode", secrets.ErrNotFound},
		item + "password?attribute=content": {"fieldNotFound", secrets.ErrInvalid},
		item + "ca.pem?attribute=otp":       {"fieldNotFound", secrets.ErrInvalid},
		"akv://vault/name":                  {"", secrets.ErrInvalid},
	}
	var refs []string
	for ref := range values {
		refs = append(refs, ref)
	}
	for ref := range failures {
		refs = append(refs, ref)
	}
	p := w.provider(t)
	for range 2 { // the second time from memory
		results, err := p.Resolve(t.Context(), refs)
		if err != nil || len(results) != len(refs) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		for ref, want := range values {
			if got := results[ref]; got.Err != nil || got.Value.Open() != want || got.Version == "" {
				t.Errorf("%s gives %q %q, %v; want %q", ref, got.Value.Open(), got.Version, got.Err, want)
			}
		}
		for ref, want := range failures {
			got := results[ref].Err
			if !errors.Is(got, want.is) || !strings.Contains(got.Error(), want.kind) {
				t.Errorf("%s gives %v, want %s", ref, got, want.kind)
			}
			if !errors.Is(want.is, secrets.ErrInvalid) && !strings.Contains(got.Error(), ref) {
				t.Errorf("%v does not name %s", got, ref)
			}
		}
	}
}

// routes of the API, as the stand-in counts them.
const (
	vaultList = "GET /v1/vaults"
	itemList  = "GET /v1/vaults/{vault}/items"
	itemGet   = "GET /v1/vaults/{vault}/items/{item}"
	fileGet   = "GET /v1/vaults/{vault}/items/{item}/files/{file}/content"
)

// The item of the user with five secrets for six services is read once, and the steady
// state is one small request.
func TestRoundTrips(t *testing.T) {
	w := newWorld(t)
	labels := []string{"db_username", "db_password", "jwt_secret", "grafana_password", "ghcr_token"}
	var refs []string
	for _, label := range labels {
		w.set(t, label, "value of "+label)
		refs = append(refs, prefix+label)
	}
	other := w.add(t, server.Item{Title: "other", Fields: []server.Field{{Label: "f", Value: "v"}}})
	refs = append(refs, "op://"+w.vault+"/other/f")
	p := w.provider(t)
	look := func(want map[string]int) map[string]secrets.Result {
		t.Helper()
		w.ForgetCounts()
		results, err := p.Resolve(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for ref, got := range results {
			if got.Err != nil {
				t.Errorf("%s: %v", ref, got.Err)
			}
		}
		if diff := cmp.Diff(want, w.Counts()); diff != "" {
			t.Error(diff)
		}
		return results
	}
	look(map[string]int{vaultList: 1, itemList: 1, itemGet: 2})
	before := look(map[string]int{vaultList: 1})
	// A title or tag moves versions, and no value.
	if err := w.Edit(w.vault, w.item, func(it *server.Item) { it.Tags = []string{"x"} }); err != nil {
		t.Fatal(err)
	}
	after := look(map[string]int{vaultList: 1, itemList: 1, itemGet: 1})
	if !before[refs[1]].Value.Equal(after[refs[1]].Value) || before[refs[5]].Version != after[refs[5]].Version {
		t.Error("an edit of a tag changed a value, or the version of another item")
	}
	look(map[string]int{vaultList: 1})
	// A new reference into a known item reads it again, and only it.
	refs = append(refs, "op://"+vaultName+"/other/f")
	look(map[string]int{vaultList: 1, itemList: 1, itemGet: 1})
	// Values that nobody asked for are not kept.
	if got := one(t, p, refs[0]); got.Err != nil {
		t.Fatal(got.Err)
	}
	look(map[string]int{vaultList: 1, itemList: 1, itemGet: 2})
	// What is missing is looked for at every look.
	w.RemoveItem(w.vault, other)
	for range 2 {
		w.ForgetCounts()
		results, err := p.Resolve(t.Context(), refs)
		if err != nil || !errors.Is(results[refs[5]].Err, secrets.ErrNotFound) || results[refs[0]].Err != nil {
			t.Errorf("after the removal of an item: %v, %v, %v", results[refs[5]].Err, results[refs[0]].Err, err)
		}
		if diff := cmp.Diff(map[string]int{vaultList: 1, itemList: 1}, w.Counts()); diff != "" {
			t.Error(diff)
		}
	}
}

// What a reference means may change without its item: another one takes the title over.
func TestATitleThatMovesToAnotherItem(t *testing.T) {
	w := newWorld(t)
	w.set(t, "f", "first")
	second := w.add(t, server.Item{Title: "second", Fields: []server.Field{{Label: "f", Value: "second"}}})
	p := w.provider(t)
	refs := []string{prefix + "f", "op://" + w.vault + "/second/f"}
	if _, err := p.Resolve(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	rename := func(id, title string) {
		t.Helper()
		if err := w.Edit(w.vault, id, func(it *server.Item) { it.Title = title }); err != nil {
			t.Fatal(err)
		}
	}
	rename(w.item, "old")
	rename(second, itemTitle)
	if got := one(t, p, refs[0]); got.Value.Open() != "second" {
		t.Errorf("got %q, %v", got.Value.Open(), got.Err)
	}
	if err := w.RenameVault(w.vault, "Renamed"); err != nil {
		t.Fatal(err)
	}
	if got := one(t, p, refs[0]); !errors.Is(got.Err, secrets.ErrNotFound) {
		t.Errorf("a vault of another name gave %v", got.Err)
	}
	if got := one(t, p, "op://renamed/"+itemTitle+"/f"); got.Value.Open() != "second" {
		t.Errorf("got %q, %v", got.Value.Open(), got.Err)
	}
}

func TestFilesAndCodes(t *testing.T) {
	w := newWorld(t)
	w.add(t, rich())
	p := w.provider(t)
	const item = "op://" + vaultName + "/Rich.item-1/"
	if got := one(t, p, item+"ca.pem"); got.Value.Open() != "PEM" {
		t.Fatal(got.Err)
	}
	w.ForgetCounts()
	if got := one(t, p, item+"ca.pem"); got.Value.Open() != "PEM" || w.Counts()[fileGet] != 0 {
		t.Errorf("from memory: %q, %v", got.Value.Open(), w.Counts())
	}
	edit := func(change func(it *server.Item)) {
		t.Helper()
		if err := w.Edit(w.vault, strings.Repeat("r", 26), change); err != nil {
			t.Fatal(err)
		}
	}
	edit(func(it *server.Item) { it.Files[0].Content = []byte("NEW") })
	if got := one(t, p, item+"ca.pem"); got.Value.Open() != "NEW" {
		t.Errorf("after the change: %q, %v", got.Value.Open(), got.Err)
	}
	// A code is never answered from memory.
	one(t, p, item+"code?attribute=otp")
	w.ForgetCounts()
	if got := one(t, p, item+"code?attribute=otp"); got.Value.Open() != "123456" || w.Counts()[itemGet] != 1 {
		t.Errorf("a code: %q, %v", got.Value.Open(), w.Counts())
	}
}

// What the token may no longer read is not kept.
func TestAVaultThatLeavesTheScope(t *testing.T) {
	w := newWorld(t)
	w.set(t, "f", "v")
	p := w.provider(t)
	one(t, p, prefix+"f")
	w.grant(t, server.Grant{})
	if got := one(t, p, prefix+"f"); !errors.Is(got.Err, secrets.ErrNotFound) || !strings.Contains(got.Err.Error(), "vaultNotFound") {
		t.Errorf("out of scope: %v", got.Err)
	}
	w.grant(t, server.Grant{Vaults: []string{w.vault}})
	w.ForgetCounts()
	if got := one(t, p, prefix+"f"); got.Value.Open() != "v" {
		t.Error(got.Err)
	}
	if diff := cmp.Diff(map[string]int{vaultList: 1, itemList: 1, itemGet: 1}, w.Counts()); diff != "" {
		t.Error(diff)
	}
}
