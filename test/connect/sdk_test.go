package connect_test

import (
	"errors"
	"slices"
	"testing"

	sdk "github.com/1Password/connect-sdk-go/connect"
	"github.com/1Password/connect-sdk-go/onepassword"

	"ktrdr.io/fleet/test/connect"
)

// 1Password's own SDK works on the stand-in as on a real server.
func TestTheRealSDK(t *testing.T) {
	w := newWorld(t)
	client := sdk.NewClientWithUserAgent(w.url, w.token, "sdk-test")
	vaults, err := client.GetVaults()
	if err != nil || len(vaults) != 1 || vaults[0].Name != "KTRDR Homelab Secrets" || vaults[0].ContentVersion != 2 || vaults[0].Type != onepassword.UserCreatedVault {
		t.Fatalf("vaults %+v, %v", vaults, err)
	}
	byTitle, err := client.GetVaultByTitle("KTRDR Homelab Secrets")
	if err != nil || byTitle.ID != w.vault {
		t.Errorf("vault by title %+v, %v", byTitle, err)
	}
	if _, err := client.GetVaultByTitle("ktrdr homelab secrets"); err == nil {
		t.Error("a filter does not look at case")
	}
	item, err := client.GetItem("ktrdr-homelab-core", "KTRDR Homelab Secrets")
	if err != nil {
		t.Fatal(err)
	}
	if item.GetValue("db_password") != "hunter2" || item.GetValue("API.key") != "k" || item.ID != w.item || item.Version != 1 {
		t.Errorf("item %+v", item)
	}
	files, err := client.GetFiles(w.item, w.vault)
	if err != nil || len(files) != 1 {
		t.Fatalf("files %+v, %v", files, err)
	}
	content, err := client.GetFileContent(&files[0])
	if err != nil || string(content) != "PEM" {
		t.Errorf("content %q, %v", content, err)
	}
	editByTheSDK(t, client, w, item)
}

func editByTheSDK(t *testing.T, client sdk.Client, w *world, item *onepassword.Item) {
	t.Helper()
	at := slices.IndexFunc(item.Fields, func(f *onepassword.ItemField) bool { return f.Label == "db_password" })
	item.Fields[at].Value = "hunter3"
	updated, err := client.UpdateItem(item, w.vault)
	if err != nil || updated.Version != 2 || updated.GetValue("db_password") != "hunter3" {
		t.Errorf("updated %+v, %v", updated, err)
	}
	made, err := client.CreateItem(&onepassword.Item{Title: "new", Category: onepassword.Login, Vault: onepassword.ItemVault{ID: w.vault}}, w.vault)
	if err != nil || made.ID == "" {
		t.Fatalf("made %+v, %v", made, err)
	}
	if err := client.DeleteItem(made, w.vault); err != nil {
		t.Error(err)
	}
	var failed *onepassword.Error
	if _, err := client.GetItemByUUID(made.ID, w.vault); !errors.As(err, &failed) || failed.StatusCode != 404 {
		t.Errorf("a deleted item gave %v", err)
	}
	if _, err := client.GetItems(w.far); !errors.As(err, &failed) || failed.StatusCode != 403 {
		t.Errorf("a vault out of scope gave %v", err)
	}
	// Two of one title are an error of the SDK as well.
	if _, err := w.AddItem(w.vault, connect.Item{Title: "ktrdr-homelab-core"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetItem("ktrdr-homelab-core", w.vault); err == nil {
		t.Error("two items of one title gave one")
	}
	w.SetQuirks(func(q *connect.Quirks) { q.HTML = 502 })
	if _, err := client.GetVaults(); !errors.As(err, &failed) || failed.StatusCode != 502 {
		t.Errorf("a page of a proxy gave %v", err)
	}
}
