package fleet_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/canary"
)

// planted are the secrets of all nodes. typed is one that a careless operator writes where it
// does not belong: the control of every search.
var planted = struct{ user, password, jwt, grafana, registry, viewer, authority, nasty, key, typed canary.Secret }{ //nolint:gochecknoglobals // made before any machine
	canary.Word("db_username"), canary.Word("db_password"), long("jwt_secret"), canary.Word("grafana_password"), canary.Word("ghcr_token"), canary.Word("viewer_token"), canary.Key("authority"),
	canary.Nasty("nasty"), canary.Key("key"), canary.Word("typed"),
}

// long is a secret of 52 letters and digits.
func long(name string) canary.Secret {
	first, second := canary.Word(name), canary.Word(name)
	return canary.Secret{Name: name, Value: first.Value + second.Value, Cores: []string{first.Value, second.Value}}
}

func secrets() []canary.Secret {
	p := &planted
	return []canary.Secret{p.user, p.password, p.jwt, p.grafana, p.registry, p.viewer, p.authority, p.nasty, p.key}
}

// secretsFile is the dotenv file of a node.
func secretsFile() string {
	var text strings.Builder
	for _, s := range secrets() {
		fmt.Fprintf(&text, "%s=%s\n", strings.ToUpper(s.Name), dotenvQuote(s.Value))
	}
	return text.String()
}

// dotenvQuote writes a value so that the file has it as it is.
func dotenvQuote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, `$`, `\$`).Replace(value) + `"`
}

const (
	wallStack = `apiVersion: ktrdr.io/v1alpha1
kind: Stack
metadata: {name: wall}
spec:
  project: wall
  variables:
    WORD: op://KTRDR Homelab Secrets/ktrdr-homelab-core/jwt_secret
    NASTY: op://KTRDR Homelab Secrets/ktrdr-homelab-core/nasty
    KEY: op://KTRDR Homelab Secrets/ktrdr-homelab-core/key
  services:
    probed:
      probe:
        exec: [sh, -c, 'printf "PROBE-SAYS %s %s %s\n" "$WORD" "$NASTY" "$KEY" && cat /data/well']
        interval: 1s
        failures: 1
`
	wallCompose = `x-says: &says {WORD: "${WORD}", NASTY: "${NASTY}", KEY: "${KEY}"}
services:
  logs:
    image: ktrdr-demo:1
    command: ["sh", "-c", "printf 'LOG-SAYS %s\\n%s\\n%s\\n' \"$$WORD\" \"$$NASTY\" \"$$KEY\" && sleep 3600"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: *says
  sick:
    image: ktrdr-demo:1
    command: ["http", "--port", "8084", "--name", "sick"]
    restart: unless-stopped
    environment: *says
    healthcheck:
      test: ["CMD-SHELL", "printf 'HEALTHCHECK-SAYS %s\\n%s\\n%s\\n' \"$$WORD\" \"$$NASTY\" \"$$KEY\" && exit 1"]
      interval: 500ms
      retries: 1
      start_period: 1ms
  probed:
    image: ktrdr-demo:1
    command: ["http", "--port", "8085", "--name", "probed"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: *says
    volumes: ["/mnt/ktrdr_data:/data"]
`
)

// TestWall lets programs on a node say their secrets wherever a program can, and looks at
// everything that goes to the controller, comes from it, is kept by it and is in its memory.
func TestWall(t *testing.T) {
	f := theFleet(t).base(t)
	tap := startTap(t, f)
	f.reconnect(t)
	f.karl.pull(t)
	for name, text := range map[string]string{"stacks/wall/stack.yaml": wallStack, "stacks/wall/compose.yaml": wallCompose} {
		if err := writeFiles(f.karl.clone, []file{{name, text, 0o644}}); err != nil {
			t.Fatal(err)
		}
	}
	f.karl.edit(t, edit{"nodes/c.yaml", "    - name: workers\n", "    - name: workers\n    - name: wall\n"})
	f.nodes["c"].run(t, "touch", "/mnt/ktrdr_data/well")
	revision := f.karl.commit(t, "programs that talk too much")
	if a := f.karl.try("git", "push", "-o", "nowait", remote, "main"); a.code != 0 {
		t.Fatalf("git push: %s", a)
	}
	says := func(what string, name, word string) {
		t.Helper()
		f.karl.await(t, what, func(d *document) bool {
			st := d.Nodes[d.index(t, "c")].Status
			return st != nil && st.Revision == revision && serviceSays(st, name, word)
		})
	}
	says("a healthcheck talks", "sick", "HEALTHCHECK-SAYS")
	says("the probe is well", "probed", "as wanted")
	f.nodes["c"].run(t, "rm", "/mnt/ktrdr_data/well")
	says("a probe talks", "probed", "PROBE-SAYS")
	f.karl.ctl(t, 0, "hold", "wall", "--why", "it talks")
	f.karl.ctl(t, 0, "resume", "wall")
	says("a healthcheck talks on", "sick", "HEALTHCHECK-SAYS")
	for args, word := range map[string]string{"logs wall": "LOG-SAYS", "events": "HEALTHCHECK-SAYS"} {
		eventually(t, "ktrdrctl "+args+" has "+word, func() bool { return strings.Contains(f.admin.try("ktrdrctl", strings.Fields(args)...).out, word) })
	}
	w := &wall{fleet: f, tap: tap, scanner: canary.New(secrets()...), control: canary.New(planted.typed)}
	texts := w.everywhere(t)
	for where, text := range texts {
		for _, hit := range w.scanner.Text(where, text) {
			t.Error(hit)
		}
	}
	for where, word := range map[string]string{
		"ktrdrctl logs wall": "LOG-SAYS", "ktrdrctl status -o json": "HEALTHCHECK-SAYS", "ktrdrctl events": "HEALTHCHECK-SAYS",
		"to the controller, ktrdr://node/c": "PROBE-SAYS", "from the controller, token": "HEALTHCHECK-SAYS", "git objects": "jwt_secret",
		"journal of the controller": "revision", "etcd": revision, "memory of the controller": revision,
	} {
		if !strings.Contains(texts[where], word) {
			t.Errorf("%s does not have %q: the search proves nothing\n%.2000s", where, word, texts[where])
		}
	}
	w.memoryOfAgent(t)
	w.plant(t)
}

func serviceSays(st *api.NodeStatus, name, word string) bool {
	for _, s := range st.Stacks {
		for _, svc := range s.Services {
			if svc.Service == name && (strings.Contains(svc.Message, word) || word == "as wanted" && svc.Converged) {
				return true
			}
		}
	}
	return false
}

type wall struct {
	*fleet
	tap              *tap
	scanner, control *canary.Scanner
}

// everywhere are the texts that a controller has, gives or gets, by where they are.
func (w *wall) everywhere(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, args := range []string{
		"status", "status -o json", "events", "events -o json", "logs wall", "logs workers", "logs core", "plan", "plan -o json", "secrets", "secrets -o json",
		"history", "history -o json", "audit", "diff", "node list", "doctor",
	} {
		texts["ktrdrctl "+args] = w.admin.try("ktrdrctl", strings.Fields(args)...).out
	}
	w.karl.pull(t)
	texts["git objects"] = w.controller.run(t, "git", "-c", "safe.directory=*", "--git-dir", repositoryDir, "cat-file", "--batch-all-objects", "--batch", "--unordered")
	texts["journal of the controller"] = w.controller.journal("ktrdr-controller")
	texts["etcd"] = readTree(t, w.controller.Path(stateDir))
	texts["memory of the controller"] = memory(t, w.controller)
	said, err := w.tap.said()
	if err != nil {
		t.Error(err)
	}
	maps.Copy(texts, said)
	for _, n := range w.nodes {
		if len(said["to the controller, ktrdr://node/"+n.name]) < 1000 {
			t.Errorf("%s says nothing through the tap: it proves nothing", n.name)
		}
	}
	total := 0
	for _, text := range texts {
		total += len(text)
	}
	t.Logf("looked at %d places, %d MB", len(texts), total>>20)
	return texts
}

// memoryOfAgent is the control of the search in memory: the agent of a node has its secrets.
func (w *wall) memoryOfAgent(t *testing.T) {
	t.Helper()
	found := map[string]bool{}
	for _, hit := range w.scanner.Text("memory of the agent", memoryOf(t, w.nodes["c"], "ktrdr-agent")) {
		found[hit.Secret] = true
	}
	if !found[planted.jwt.Name] || !found[planted.nasty.Name] {
		t.Errorf("the memory of an agent that delivers secrets has %v: the search in memory proves nothing", found)
	}
}

// plant does what nobody should: a secret as the reason of a change. Every search finds it.
func (w *wall) plant(t *testing.T) {
	t.Helper()
	w.karl.ctl(t, 0, "node", "cordon", "gpu", "--why", planted.typed.Value)
	w.karl.ctl(t, 0, "node", "uncordon", "gpu")
	w.karl.try("ktrdrctl", "scale", "backtest=0", "node=c", "--no-wait", "--why", planted.typed.Value)
	found := map[string]bool{}
	for where, text := range w.everywhere(t) {
		if len(w.control.Text(where, text)) > 0 {
			found[where] = true
		}
	}
	t.Logf("a secret that was planted is found in %d places: %v", len(found), found)
	for _, where := range []string{"to the controller, token", "git objects", "etcd", "memory of the controller"} {
		if !found[where] {
			t.Errorf("%s: what was planted was not found: the search proves nothing", where)
		}
	}
}

func readTree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the controller tidies up meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // a file of the test's machine
		all.Write(text)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the controller tidies up meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// memory is all that the controller's process can write.
func memory(t *testing.T, n *node) string { return memoryOf(t, n, "ktrdr-controller") }

func memoryOf(t *testing.T, n *node, unit string) string {
	t.Helper()
	inside := n.run(t, "systemctl", "show", "--value", "--property", "MainPID", unit)
	pid := outside(t, n, inside)
	maps, err := os.ReadFile(filepath.Join("/proc", pid, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(filepath.Join("/proc", pid, "mem"))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close() //nolint:errcheck // only read
	var all bytes.Buffer
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "rw") || strings.Contains(lines.Text(), "/") {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, err1 := strconv.ParseInt(from, 16, 64)
		end, err2 := strconv.ParseInt(to, 16, 64)
		if err1 != nil || err2 != nil || end-begin > 1<<28 {
			continue
		}
		part := make([]byte, end-begin)
		got, _ := mem.ReadAt(part, begin) // what is not there was never written
		all.Write(part[:got])
	}
	if all.Len() < 1<<20 {
		t.Errorf("only %d bytes of memory of %s: this proves nothing", all.Len(), unit)
	}
	return all.String()
}

// outside is the number that a process of a machine has here.
func outside(t *testing.T, n *node, inside string) string {
	t.Helper()
	space, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(n.PID()), "ns/pid"))
	if err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range all {
		text, err := os.ReadFile(path) //nolint:gosec // of the kernel
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != "NSpid:" || fields[len(fields)-1] != inside {
				continue
			}
			if got, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns/pid")); err == nil && got == space {
				return filepath.Base(filepath.Dir(path))
			}
		}
	}
	t.Fatalf("process %s of %s is not found", inside, n.name)
	return ""
}

// reconnect makes all agents connect anew.
func (f *fleet) reconnect(t *testing.T) {
	t.Helper()
	began := time.Now()
	for _, n := range f.nodes {
		n.run(t, "systemctl", "restart", "ktrdr-agent")
	}
	f.karl.await(t, "all are connected again", func(d *document) bool { return d.settled(d.Head.Revision) })
	t.Logf("all were connected again %s after a restart of their agents", since(began))
}
