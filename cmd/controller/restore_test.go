package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// refuses runs a command that has to fail, and say so.
func (s *site) refuses(want string, args ...string) {
	s.t.Helper()
	out, err := s.command(append(args, "--config", s.config)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "goroutine") {
		s.t.Errorf("%s: %v\n%s\nwant: %s", strings.Join(args, " "), err, out, want)
	}
}

// TestBackupFile is for its owner only, there as a whole or not at all, and never in the place of another.
func TestBackupFile(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "backup")
	run := func(args ...string) string {
		out, err := s.command(append(args, "--config", s.config)...).Output()
		must(t, err)
		return string(out)
	}
	said := run("backup", "--out", file)
	for _, want := range []string{"digests of tokens", "does not hold " + s.state("authority"), s.state("repository", "desired-state.git")} {
		if !strings.Contains(said, want) {
			t.Errorf("backup says\n%s\nwant: %s", said, want)
		}
	}
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v", info.Mode())
	}
	for socket, mode := range map[string]os.FileMode{"": 0o700, "backup.sock": 0o660} {
		info, err := os.Stat(s.state("store", socket))
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
	before, err := os.ReadFile(file)
	must(t, err)
	s.refuses("exists already", "backup", "--out", file)
	s.refuses("no such file", "backup", "--out", filepath.Join(dir, "none", "backup"))
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the backup of before is another: %v", err)
	}
	piped := run("backup", "--out", "-")
	s.stop()
	run("backup", "--out", filepath.Join(dir, "stopped"))
	if os.Geteuid() == 0 {
		must(t, os.Chown(s.state(), 1234, -1))
		s.refuses("runuser -u 1234", "backup", "--out", filepath.Join(dir, "other"))
		s.refuses("runuser -u 1234", "restore", "--from", file)
		s.refuses("runuser -u 1234", "operator", "add", "eve", "--role", "admin", "--out", filepath.Join(dir, "eve"))
		s.refuses("runuser -u 1234", "authority", "replace")
		s.refuses("runuser -u 1234", "init", "--out", filepath.Join(dir, "admin"))
		must(t, os.Chown(s.state(), 0, -1))
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 2 {
		t.Errorf("in the folder are %v", files)
	}
	s.elsewhere("piped", "")
	restore := s.command("restore", "--config", s.config, "--from", "-")
	restore.Stdin = strings.NewReader(piped)
	if out, err := restore.CombinedOutput(); err != nil || !strings.Contains(string(out), "operators: 1") {
		t.Errorf("restore of what went to the standard output: %v\n%s", err, out)
	}
	s.elsewhere("none", "")
	s.refuses("holds no store", "backup", "--out", filepath.Join(dir, "none"))
	if _, err := os.Stat(s.state("store")); !os.IsNotExist(err) {
		t.Errorf("looking for a store made one: %v", err)
	}
}

// TestBackupThatBreaksOff leaves no file: of a controller that dies, and of one that gives no
// backups.
func TestBackupThatBreaksOff(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	s.stop()
	fake, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", s.state("store", "backup.sock"))
	must(t, err)
	answers := make(chan string)
	go func() {
		for answer := range answers {
			conn, err := fake.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(answer))
			_ = conn.Close()
		}
	}()
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n"
	for answer, want := range map[string]string{
		head + strings.Repeat("x", 200):                              "unexpected EOF",
		head + strings.Repeat("x", 512) + "\r\n0\r\n\r\n":            "it is cut, or no snapshot",
		"HTTP/1.1 503 Service Unavailable\r\n\r\netcd has no quorum": "etcd has no quorum",
	} {
		answers <- answer
		s.refuses(want, "backup", "--out", filepath.Join(dir, "backup"))
	}
	close(answers)
	must(t, fake.Close())
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left are %v %v", files, err)
	}
	s.start()
	must(t, os.Remove(s.state("store", "backup.sock")))
	s.refuses("gives out no backups", "backup", "--out", filepath.Join(dir, "backup"))
	s.kill()
	s.start() // over what the one that was killed has left
	s.backup()
}

// TestRestoreRefuses what would mix two fleets or lose one, and says how to go on.
func TestRestoreRefuses(t *testing.T) {
	s := newSite(t)
	file := s.backup()
	content, err := os.ReadFile(file)
	must(t, err)
	s.refuses("another controller has it open", "restore", "--from", file)
	s.stop()
	s.refuses("mv "+s.state("store")+" "+s.state("store")+".old, and restore again", "restore", "--from", file)
	s.start() // nothing was harmed
	s.stop()

	s.elsewhere("damaged", "")
	damaged := filepath.Join(t.TempDir(), "damaged")
	for name, bad := range map[string][]byte{"cut": content[:len(content)-100], "damaged": append(bytes.Repeat([]byte{1}, 9000), content[9000:]...)} {
		must(t, os.WriteFile(damaged, bad, 0o600))
		s.refuses(name, "restore", "--from", damaged)
	}
	if _, err := os.Stat(s.state("store")); !os.IsNotExist(err) {
		t.Errorf("a damaged backup begins a store: %v", err)
	}
	s.refuses("no record under /other/", "restore", "--from", file, "--prefix", "/other/")
	if said := s.restore(file); strings.Contains(said, "MISSING") {
		t.Errorf("all is there, and restore says\n%s", said)
	}

	s.elsewhere("without", "")
	must(t, os.Remove(s.state("authority", "ca.crt")))
	if said := s.restore(file); !strings.Contains(said, "MISSING: The fleet's authority (") || !strings.Contains(said, "copy its ca.crt and ca.key to "+s.state("authority")) {
		t.Errorf("restore without an authority says\n%s", said)
	}
	other := newSite(t)
	other.stop()
	s.elsewhere("other", "")
	for _, name := range []string{"ca.crt", "ca.key"} {
		text, err := os.ReadFile(other.state("authority", name))
		must(t, err)
		must(t, os.WriteFile(s.state("authority", name), text, 0o600))
	}
	if said := s.restore(file); !strings.Contains(said, "MISSING: This machine has another authority (") || !strings.Contains(said, "authority replace") {
		t.Errorf("restore beside another authority says\n%s", said)
	}
	s.refuses("has another authority", "run")
}

// TestInterruptedRestore is no store that a controller takes, and is begun anew.
func TestInterruptedRestore(t *testing.T) {
	s := newSite(t)
	file := s.backup()
	want, err := s.access.ListOperators(t.Context(), &ktrdrv1.ListOperatorsRequest{})
	must(t, err)
	s.stop()
	endpoint := etcd(t)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	must(t, err)
	defer client.Close() //nolint:errcheck // it was only asked
	for key, value := range map[string]string{"/mine/schema": "restoring", "/mine/nodes/left": `{"name":"left"}`} {
		_, err := client.Put(t.Context(), key, value)
		must(t, err)
	}
	s.elsewhere("external", fmt.Sprintf("etcd: {external: {endpoints: [%q], prefix: /mine/}}\nrepository: {follow: {url: \"https://127.0.0.1:1/none\"}}\n", endpoint))
	s.refuses("restore again", "run")
	s.refuses("restore again", "backup", "--out", filepath.Join(t.TempDir(), "backup"))
	s.restore(file)
	s.refuses("etcdctl del --prefix /mine/", "restore", "--from", file)
	s.start()
	got, err := s.access.ListOperators(t.Context(), &ktrdrv1.ListOperatorsRequest{})
	must(t, err)
	nodes, err := s.nodes.ListNodes(t.Context(), &ktrdrv1.ListNodesRequest{})
	must(t, err)
	if len(got.GetOperators()) != len(want.GetOperators()) || len(nodes.GetNodes()) != 0 {
		t.Errorf("there are the operators %v and the nodes %v", got, nodes)
	}
	s.stop() // before its etcd
}
