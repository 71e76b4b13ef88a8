package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsage: whatever is written wrong is said, and ends with 2.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":                               "ktrdr-controller init",
		"start":                          `unknown command "start"`,
		"operator":                       `unknown command "operator"`,
		"operator add":                   "needs a name, --role and --out",
		"operator add karl --role admin": "needs a name, --role and --out",
		"backup":                         "backup needs --out FILE",
		"restore -":                      "restore needs --from FILE",
		"run controller.yaml":            `run takes no "controller.yaml"`,
		"check --conf x":                 "flag provided but not defined: -conf",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(line), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%q ends with %d and says %q, want %q", line, code, errs.String(), want)
		}
	}
}

// TestDamagedStore is told in words: etcd itself panics, in a goroutine of its own.
func TestDamagedStore(t *testing.T) {
	dir := t.TempDir()
	s := &site{t: t, dir: dir}
	config := filepath.Join(dir, "controller.yaml")
	must(t, os.WriteFile(config, []byte("listen: 127.0.0.1:0\nips: [127.0.0.1]\nstateDir: "+dir+"/state\n"), 0o600))
	snap := filepath.Join(dir, "state", "store", "etcd", "member", "snap")
	must(t, os.MkdirAll(snap, 0o700))
	must(t, os.WriteFile(filepath.Join(snap, "db"), bytes.Repeat([]byte("damaged "), 4096), 0o600))
	out, err := s.command("init", "--config", config).CombinedOutput()
	if err == nil || strings.Contains(string(out), "goroutine") || !strings.Contains(string(out), "ktrdr-controller restore --from BACKUP") {
		t.Errorf("%v\n%s", err, out)
	}
}
