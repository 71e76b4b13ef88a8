package source_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/test/port"
)

// sshd finds OpenSSH's server. It must be called by its full path.
func sshd() string {
	for _, p := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

func needSSHD(t *testing.T) {
	t.Helper()
	if sshd() == "" {
		t.Skip("SKIPPED, nothing over ssh is tested: install openssh-server")
	}
}

// sshRepo serves the repository with a real sshd on a loopback port.
type sshRepo struct {
	*gitRepo
	addr             string
	hosts, key, conf string
	extra            string // one more line for sshd's configuration
	stop             func()
}

func newSSHRepo(t testing.TB) *sshRepo {
	t.Helper()
	r := &sshRepo{gitRepo: newGitRepo(t)}
	r.key = r.keygen(t, "client")
	pub, err := os.ReadFile(r.key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.base, "authorized"), string(pub))
	if os.Getuid() == 0 {
		// Where root's sshd shuts itself in before it knows the user. Debian's start script makes it.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.addr = port.Reserve(t)
	r.start(t, "host")
	r.hosts = filepath.Join(r.base, "known_hosts")
	r.know(t, "host")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r.reach = func(testing.TB) source.GitConfig {
		return source.GitConfig{
			URL: "ssh://" + me.Username + "@" + r.addr + r.bare,
			SSH: source.SSHAuth{KeyFile: r.key, KnownHostsFile: r.hosts},
		}
	}
	r.hide = func(t testing.TB) func() {
		r.stop()
		return func() { r.start(t, "host") }
	}
	return r
}

func (r *sshRepo) keygen(t testing.TB, name string) string {
	t.Helper()
	p := filepath.Join(r.base, name)
	if _, err := os.Stat(p); err == nil {
		return p
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", p).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	return p
}

// know makes name's host key the only known one.
func (r *sshRepo) know(t testing.TB, name string) {
	t.Helper()
	pub, err := os.ReadFile(r.keygen(t, name) + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	host, number, _ := net.SplitHostPort(r.addr)
	write(t, r.hosts, fmt.Sprintf("[%s]:%s %s", host, number, pub))
}

// start runs sshd with a host key until the test ends or stop is called.
func (r *sshRepo) start(t testing.TB, hostKey string) {
	t.Helper()
	_, number, _ := net.SplitHostPort(r.addr)
	r.conf = filepath.Join(r.base, "sshd_config")
	write(t, r.conf, strings.Join([]string{
		"Port " + number, "ListenAddress 127.0.0.1", "HostKey " + r.keygen(t, hostKey),
		"AuthorizedKeysFile " + filepath.Join(r.base, "authorized"), "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"UsePAM no", "StrictModes no", "PidFile none", "PermitRootLogin prohibit-password", "MaxStartups 100", r.extra, "",
	}, "\n"))
	cmd := exec.Command(sshd(), "-D", "-e", "-f", r.conf)
	cmd.Env = gitEnv(r.base)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start sshd: %v", err)
	}
	up, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(log)
		for told := false; lines.Scan(); {
			if !told && strings.HasPrefix(lines.Text(), "Server listening on") {
				told = true
				close(up)
			}
		}
		_ = cmd.Wait()
	}()
	var stopped bool
	r.stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			<-done
		}
	}
	t.Cleanup(r.stop)
	select {
	case <-up:
	case <-done:
		t.Fatal("sshd ended at once")
	case <-time.After(time.Minute):
		t.Fatal("sshd doesn't listen")
	}
}
