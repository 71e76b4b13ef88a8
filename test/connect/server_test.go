package connect_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/connect"
)

// world is a server with one vault that the token reads and one that it does not.
type world struct {
	*connect.Server
	t                            *testing.T
	url, token, vault, item, far string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := connect.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: s, t: t, vault: s.AddVault(connect.Vault{Name: "KTRDR Homelab Secrets"}), far: s.AddVault(connect.Vault{Name: "Far"})}
	w.item, err = s.AddItem(w.vault, connect.Item{
		Title:    "ktrdr-homelab-core",
		Sections: []connect.Section{{ID: "api", Label: "API"}},
		Fields: []connect.Field{
			{Label: "db_username", Type: "STRING", Value: "ktrdr"},
			{Label: "db_password", Value: "hunter2"},
			{Label: "nothing"},
			{Label: "key", Section: &connect.Ref{ID: "api"}, Value: "k"},
		},
		Files: []connect.File{{Name: "ca.pem", Text: "PEM"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddItem(w.far, connect.Item{Title: "far"}); err != nil {
		t.Fatal(err)
	}
	if w.token, err = s.Issue(connect.Grant{Vaults: []string{w.vault}}); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	w.url = web.URL
	return w
}

// get asks with the world's token and decodes the answer.
func (w *world) get(path string, into any) (status int, header http.Header) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			w.t.Fatalf("%s: %v in %s", path, err, data)
		}
	}
	return res.StatusCode, res.Header
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	old, err := w.Issue(connect.Grant{Vaults: []string{w.vault}, Expires: time.Now().Add(-time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	good := w.token
	revoked, err := w.Issue(connect.Grant{Vaults: []string{w.vault}})
	if err != nil {
		t.Fatal(err)
	}
	w.Revoke(revoked)
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"good": {good, 200}, "none": {"", 401}, "expired": {old, 401}, "revoked": {revoked, 401}, "no token": {"abc", 401},
		"other claims": {parts[0] + "." + strings.Split(old, ".")[1] + "." + parts[2], 401},
	} {
		w.token = c.token
		if got, _ := w.get("/v1/vaults", nil); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	w.token = good
	if got, _ := w.get("/v1/vaults/"+w.far+"/items", nil); got != http.StatusForbidden {
		t.Errorf("a vault out of scope: %d", got)
	}
	var vaults []connect.Vault
	w.get("/v1/vaults", &vaults)
	if len(vaults) != 1 || vaults[0].ID != w.vault {
		t.Errorf("vaults %+v", vaults)
	}
}

// Any edit moves the item's version and the vault's content version; another name of the
// vault moves neither.
func TestVersions(t *testing.T) {
	w := newWorld(t)
	look := func() (vault connect.Vault, item connect.Item) {
		t.Helper()
		w.get("/v1/vaults/"+w.vault, &vault)
		w.get("/v1/vaults/"+w.vault+"/items/"+w.item, &item)
		return vault, item
	}
	v1, i1 := look()
	for name, edit := range map[string]func(it *connect.Item){
		"title": func(it *connect.Item) { it.Title = "other" },
		"tag":   func(it *connect.Item) { it.Tags = append(it.Tags, "x") },
		"value": func(it *connect.Item) { it.Fields[1].Value = "new" },
	} {
		if err := w.Edit(w.vault, w.item, edit); err != nil {
			t.Fatal(err)
		}
		v2, i2 := look()
		if i2.Version != i1.Version+1 || v2.ContentVersion != v1.ContentVersion+1 {
			t.Errorf("%s: item %d to %d, vault %d to %d", name, i1.Version, i2.Version, v1.ContentVersion, v2.ContentVersion)
		}
		v1, i1 = v2, i2
	}
	if err := w.RenameVault(w.vault, "Renamed"); err != nil {
		t.Fatal(err)
	}
	if v2, i2 := look(); v2.ContentVersion != v1.ContentVersion || i2.Version != i1.Version || v2.Name != "Renamed" {
		t.Errorf("after another name: %+v", v2)
	}
}

func TestQuirks(t *testing.T) {
	w := newWorld(t)
	item := "/v1/vaults/" + w.vault + "/items/" + w.item
	status := func(path string) int {
		code, _ := w.get(path, nil)
		return code
	}
	set := func(q connect.Quirks) {
		w.SetQuirks(func(now *connect.Quirks) { *now = q })
		w.Restart()
	}

	set(connect.Quirks{FalseUnauthorized: 1})
	if a, b := status(item), status(item); a != 401 || b != 200 {
		t.Errorf("false 401: %d, then %d", a, b)
	}
	set(connect.Quirks{ForbiddenEvery: 2})
	if a, b := status(item), status(item); a+b != 603 {
		t.Errorf("each second one forbidden: %d, then %d", a, b)
	}
	set(connect.Quirks{SyncingFor: 1})
	if a, b := status(item), status(item); a != 500 || b != 200 {
		t.Errorf("while syncing: %d, then %d", a, b)
	}
	set(connect.Quirks{Syncing: true})
	if a, b := status(item), status("/health"); a != 500 || b != 200 {
		t.Errorf("syncing: %d, health %d", a, b)
	}
	for _, code := range []int{200, 502, 504} {
		set(connect.Quirks{HTML: code})
		if got, header := w.get(item, nil); got != code || header.Get("Content-Type") != "text/html" {
			t.Errorf("page %d: %d %s", code, got, header.Get("Content-Type"))
		}
	}
	set(connect.Quirks{LateFirst: 50 * time.Millisecond})
	began := time.Now()
	if status(item); time.Since(began) < 50*time.Millisecond {
		t.Error("the first request is not late")
	}
	set(connect.Quirks{AddMore: true})
	var got connect.Item
	w.get(item, &got)
	if f := got.Fields[0]; f.Section == nil || f.Section.ID != "add more" || got.Fields[3].Section.ID != "api" {
		t.Errorf("fields %+v", got.Fields)
	}
	set(connect.Quirks{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+item, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
		_ = res.Body.Close()
		t.Error("a server that hangs answered")
	}
}

// A field without a value has no "value" in the answer.
func TestMissingValue(t *testing.T) {
	w := newWorld(t)
	var got struct {
		Fields []map[string]any `json:"fields"`
	}
	w.get("/v1/vaults/"+w.vault+"/items/"+w.item, &got)
	if _, found := got.Fields[2]["value"]; found || got.Fields[1]["value"] != "hunter2" {
		t.Errorf("fields %v", got.Fields)
	}
}

// Two items of one title come in any order.
func TestDuplicatesComeInAnyOrder(t *testing.T) {
	w := newWorld(t)
	if _, err := w.AddItem(w.vault, connect.Item{Title: "ktrdr-homelab-core"}); err != nil {
		t.Fatal(err)
	}
	w.SetQuirks(func(q *connect.Quirks) { q.Shuffle = true })
	first := map[string]bool{}
	for range 64 {
		var items []connect.Item
		w.get("/v1/vaults/"+w.vault+"/items", &items)
		if len(items) != 2 || items[0].Fields != nil {
			t.Fatalf("items %+v", items)
		}
		first[items[0].ID] = true
	}
	if len(first) != 2 {
		t.Error("64 lists were in one order")
	}
}

func TestActivity(t *testing.T) {
	w := newWorld(t)
	w.get("/v1/vaults/"+w.vault+"/items/"+w.item, nil)
	w.get("/v1/vaults/"+w.far+"/items", nil)
	var list []connect.Activity
	_, header := w.get("/v1/activity?limit=1", &list)
	if len(list) != 1 || list[0].Result != "DENY" || header.Get("Content-Range") != "1-1/2" {
		t.Errorf("%s %+v", header.Get("Content-Range"), list)
	}
	w.get("/v1/activity?offset=1", &list)
	if len(list) != 1 || list[0].Result != "SUCCESS" || list[0].Resource.Item.ID != w.item || list[0].Resource.ItemVersion != 1 || list[0].Actor.UserAgent == "" {
		t.Errorf("%+v", list)
	}
}
