package controllers_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrdr.io/fleet/test/port"
)

// person has ktrdrctl, and a context with the name that both controllers have.
type person struct {
	t     testing.TB
	dir   string
	hosts string
	// links lead to the controllers.
	links [2]*relay
	at    [2]string // what the links listen at
}

// newPerson has no link yet.
func newPerson(t testing.TB, w *world) *person {
	t.Helper()
	_, port, err := net.SplitHostPort(port.Reserve(t))
	must(t, err)
	p := &person{t: t, dir: t.TempDir()}
	p.hosts = filepath.Join(p.dir, "hosts")
	text := ""
	for i, ip := range []string{"127.0.0.11", "127.0.0.12"} {
		p.at[i] = net.JoinHostPort(ip, port)
		text += ip + " " + fleetName + "\n"
	}
	must(t, os.WriteFile(p.hosts, []byte(text), 0o600))
	must(t, os.WriteFile(filepath.Join(p.dir, "config"), fmt.Appendf(nil, `apiVersion: ktrdr.io/v1alpha1
kind: Config
current: home
contexts:
  - {name: home, controller: "https://%s:%s", authority: %s, token: %q}
`, fleetName, port, base64.StdEncoding.EncodeToString(w.authority), w.token), 0o600))
	return p
}

// link makes the way to a controller.
func (p *person) link(w *world, i int) {
	p.t.Helper()
	p.links[i] = newRelay(p.t, p.at[i], w.c[i].addr)
}

// run starts ktrdrctl on a machine whose /etc/hosts has both controllers under one name.
func (p *person) run(args ...string) *process {
	p.t.Helper()
	words := append([]string{"-c", `mount --bind "$HOSTS" /etc/hosts && exec "$@"`, "sh", ctl}, args...)
	said := &process{t: p.t, make: func() *exec.Cmd {
		cmd := exec.CommandContext(context.WithoutCancel(p.t.Context()), "sh", words...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_CONFIG=" + filepath.Join(p.dir, "config"), "HOME=" + p.dir, "HOSTS=" + p.hosts}
		return cmd
	}}
	said.attr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if id := os.Getuid(); id != 0 {
		said.attr.Cloneflags = syscall.CLONE_NEWUSER
		said.attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	said.start()
	p.t.Cleanup(func() {
		said.kill()
		if p.t.Failed() {
			p.t.Logf("ktrdrctl %s says:\n%s", strings.Join(args, " "), said.log.tail())
		}
	})
	return said
}
