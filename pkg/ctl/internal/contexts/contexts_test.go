package contexts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
)

const planted = "planted-secret-token"

func TestRoundTripIsPrivateAndAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config")
	f, err := contexts.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Put(contexts.Context{Name: "home", Controller: "https://c:8443", Authority: contexts.Encode([]byte("pem")), Token: planted})
	f.Put(contexts.Context{Name: "b", Agent: "unix:///run/ktrdr/agent.sock"})
	f.Current = "home"
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files beside it: %v %v", left, err)
	}
	again, err := contexts.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, again); diff != "" {
		t.Error(diff)
	}
	again.Remove("home")
	if again.Current != "" || again.Find("home") != nil || again.Remove("home") {
		t.Errorf("after Remove: %+v", again)
	}
}

func TestSaveKeepsALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := contexts.New().Save(link); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(link); err != nil || got != target {
		t.Errorf("link: %q %v", got, err)
	}
}

func TestRefusedWhenOthersCanRead(t *testing.T) {
	for _, mode := range []os.FileMode{0o604, 0o640, 0o620, 0o602} {
		path := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := contexts.Load(path)
		if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestProblemsQuoteNothing(t *testing.T) {
	const head = "apiVersion: ktrdr.io/v1alpha1\nkind: Config\ncontexts:\n- name: home\n"
	for name, text := range map[string]string{
		"unknown field":  head + "  controller: https://c\n  tokn: " + planted + "\n",
		"not yaml":       head + "  token: \"" + planted + "\n",
		"a list":         head + "  controller: https://c\n  token: [" + planted + "]\n",
		"twice":          head + "  agent: unix:///a\n- name: home\n  agent: unix:///a\n",
		"no kind":        "apiVersion: x\nkind: Config\n",
		"both":           head + "  agent: unix:///a\n  controller: https://c\n",
		"neither":        head + "  token: " + planted + "\n",
		"agent + token":  head + "  agent: unix:///a\n  token: " + planted + "\n",
		"no authority":   head + "  controller: https://c\n  token: " + planted + "\n",
		"http":           head + "  controller: http://c\n  authority: eA==\n  token: " + planted + "\n",
		"user in url":    head + "  controller: https://" + planted + "@c\n  authority: eA==\n",
		"path":           head + "  controller: https://c/x\n  authority: eA==\n",
		"key alone":      head + "  controller: https://c\n  authority: eA==\n  key: " + planted + "\n",
		"token and file": head + "  controller: https://c\n  authority: eA==\n  token: " + planted + "\n  tokenFile: x\n",
		"token and key":  head + "  controller: https://c\n  authority: eA==\n  token: " + planted + "\n  key: eA==\n  certificate: eA==\n",
		"name":           "apiVersion: ktrdr.io/v1alpha1\nkind: Config\ncontexts:\n- name: a b\n  agent: unix:///a\n",
	} {
		_, err := contexts.Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), planted) {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"ca.pem": 0o644, "token": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	c := contexts.Context{Name: "home", Controller: "https://c", AuthorityFile: "ca.pem", TokenFile: "token"}
	got, err := c.Credentials(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&contexts.Credentials{Authority: []byte("ca.pem\n"), Token: "token", Certificate: []byte{}, Key: []byte{}}, got); diff != "" {
		t.Error(diff)
	}
	if host, err := c.Host(); err != nil || host != "c:8443" {
		t.Errorf("host %q %v", host, err)
	}
	for name, bad := range map[string]contexts.Context{
		"token that others can read": {Name: "x", Controller: "https://c", AuthorityFile: "ca.pem", TokenFile: "open"},
		"key that others can read":   {Name: "x", Controller: "https://c", AuthorityFile: "ca.pem", CertificateFile: "ca.pem", KeyFile: "open"},
		"no such authority":          {Name: "x", Controller: "https://c", AuthorityFile: "nope", TokenFile: "token"},
		"no base64":                  {Name: "x", Controller: "https://c", Authority: planted + "!", Token: "x"},
		"two words":                  {Name: "x", Controller: "https://c", AuthorityFile: "ca.pem", Token: planted + " x"},
	} {
		if _, err := bad.Credentials(dir); err == nil || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSeveralControllers are asked in the order of the context.
func TestSeveralControllers(t *testing.T) {
	home := func(others ...string) contexts.Context {
		return contexts.Context{Name: "home", Controller: "https://c1", Authority: "eA==", Token: "x", Others: others}
	}
	c := home("https://c2:9000", "https://[fd00::3]/")
	hosts, err := c.Hosts()
	if diff := cmp.Diff([]string{"c1:8443", "c2:9000", "[fd00::3]:8443"}, hosts); diff != "" || err != nil || c.Validate() != nil {
		t.Errorf("%v, %v\n%s", err, c.Validate(), diff)
	}
	again := c.For()
	if diff := cmp.Diff(contexts.Context{Name: "home", Controller: c.Controller, Others: c.Others}, again); diff != "" {
		t.Error(diff)
	}
	for want, bad := range map[string]contexts.Context{
		"others[1]: write https://host:port":  home("https://c2", "http://c3"),
		"others[0]: c1:8443 is there already": home("https://c1:8443"),
		"others: at most 15":                  home(make([]string, 16)...),
		"an agent has no credentials":         {Name: "b", Agent: "unix:///run/ktrdr/agent.sock", Others: []string{"https://c2"}},
	} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"KTRDR_CONFIG": "x", "HOME": "/h"}, "x"},
		{map[string]string{"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/ktrdr/config"},
		{map[string]string{"HOME": "/h"}, "/h/.config/ktrdr/config"},
		{nil, ""},
	} {
		if got := contexts.Path(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
	if f, err := contexts.Load(""); err != nil || len(f.Contexts) != 0 {
		t.Errorf("without a path: %v %v", f, err)
	}
	if err := contexts.New().Save(""); err == nil {
		t.Error("saved nowhere")
	}
}
