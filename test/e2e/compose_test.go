package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestNetworkModeFollows: a service in another one's network namespace follows it when
// that is replaced or restarted.
func TestNetworkModeFollows(t *testing.T) {
	compose := `
services:
  parent:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "parent"]
    restart: unless-stopped
    healthcheck: {disable: true}
  child:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "child"]
    restart: unless-stopped
    healthcheck: {disable: true}
    network_mode: service:parent
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	together := func() bool {
		parent, child := a.on.must(t, a.name("parent")), a.on.must(t, a.name("child"))
		if !parent.State.Running || !child.State.Running || child.HostConfig.NetworkMode != "container:"+parent.ID {
			return false
		}
		// The child may be stopped at any moment, to follow its parent.
		code, _, err := a.on.tryExec(t.Context(), a.name("child"), "curl", "-fs", "http://localhost:8080/")
		return err == nil && code == 0
	}
	if !together() {
		t.Fatal("the child does not share the parent's network")
	}
	before := a.on.must(t, a.name("parent"))
	a.change(func() { a.compose(edited(compose, "yes")) })
	if a.on.must(t, a.name("parent")).ID == before.ID {
		t.Fatal("the parent was not replaced")
	}
	if !together() {
		t.Error("after the parent was replaced the child is cut off")
	}
	a.on.post(t, "/containers/"+a.name("parent")+"/restart?t=1", nil)
	eventually(t, "the child follows a restart of its parent", 30*time.Second, func() bool {
		return a.on.container(t, a.name("child")) != nil && together()
	})
	a.converged()
}

// TestNetworkChangeKeepsAddresses: a network that changes is replaced under its containers,
// which keep aliases and static addresses.
func TestNetworkChangeKeepsAddresses(t *testing.T) {
	compose := func(label string) string {
		return `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    networks:
      fixed: {ipv4_address: 10.213.77.10, aliases: [shop]}
      plain: {aliases: [store]}
networks:
  fixed:
    labels: {edition: "` + label + `"}
    ipam: {config: [{subnet: 10.213.77.0/24}]}
  plain:
`
	}
	a := newAgent(t, compose("1"), "")
	a.start()
	a.converged()
	right := func(what string) {
		t.Helper()
		web := a.on.must(t, a.name("web"))
		fixed, plain := web.NetworkSettings.Networks[a.net("fixed")], web.NetworkSettings.Networks[a.net("plain")]
		if fixed.IPAddress != "10.213.77.10" {
			t.Errorf("%s: address %q", what, fixed.IPAddress)
		}
		aliases := strings.Join(append(fixed.Aliases, plain.Aliases...), " ")
		for _, want := range []string{"shop", "store", "web"} {
			if !strings.Contains(" "+aliases+" ", " "+want+" ") {
				t.Errorf("%s: alias %s is missing: %s", what, want, aliases)
			}
		}
	}
	right("at first")
	var before, after struct {
		ID     string `json:"Id"`
		Labels map[string]string
	}
	a.on.do(t, "GET", "/networks/"+a.net("fixed"), nil, &before)
	a.change(func() { a.compose(compose("2")) })
	a.on.do(t, "GET", "/networks/"+a.net("fixed"), nil, &after)
	if before.ID == after.ID || after.Labels["edition"] != "2" {
		t.Error("the network was not replaced")
	}
	right("after the network changed")
	a.on.post(t, "/networks/"+a.net("fixed")+"/disconnect", map[string]any{"Container": a.name("web"), "Force": true})
	eventually(t, "connected again", 30*time.Second, func() bool {
		return a.on.must(t, a.name("web")).NetworkSettings.Networks[a.net("fixed")].IPAddress != ""
	})
	a.converged()
	right("after it was disconnected by hand")
}

// TestAnonymousVolumesStay: data in an anonymous volume outlives the container's replacement.
func TestAnonymousVolumesStay(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    volumes: [/keep, "named:/named"]
volumes:
  named:
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	before := a.on.must(t, a.name("web"))
	anonymous := before.volume("/keep")
	if len(anonymous) != 64 {
		t.Fatalf("no anonymous volume: %+v", before.Mounts)
	}
	a.change(func() { a.compose(edited(compose, "1")) })
	now := a.on.must(t, a.name("web"))
	if now.ID == before.ID || now.volume("/keep") != anonymous || now.volume("/named") != a.net("named") {
		t.Errorf("after a change: %+v, before %+v", now.Mounts, before.Mounts)
	}
	if got := a.on.names(t, a.project); len(got) != 1 {
		t.Errorf("containers: %v", got)
	}
}

// TestHooks: post_start runs once for each start, also when the agent restarts; pre_stop
// runs before a stop.
func TestHooks(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    post_start:
      - command: ["sh", "-c", "echo started"]
    pre_stop:
      - command: ["sh", "-c", "echo stopping"]
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	events := a.execs()
	a.restart()
	a.converged()
	first := a.on.must(t, a.name("web"))
	during(t, "no hook after a restart of the agent", time.Second, func() bool { return len(events()) == 1 })
	a.change(func() { a.compose(edited(compose, "1")) })
	if a.on.must(t, a.name("web")).ID == first.ID {
		t.Fatal("not replaced")
	}
	eventually(t, "both hooks", 10*time.Second, func() bool {
		got := strings.Join(events(), "; ")
		return strings.Count(got, "echo started") == 2 && strings.Count(got, "echo stopping") == 1
	})
}

// TestConfigContent: a config with content of its own is in the container, and its
// container is replaced when the content changes.
func TestConfigContent(t *testing.T) {
	compose := func(text string) string {
		return `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    configs:
      - {source: inline, target: /etc/inline.conf, mode: 0440, uid: "999", gid: "1500"}
      - {source: file, target: /etc/file.conf}
configs:
  inline: {content: "` + text + `"}
  file: {file: ./app.conf}
`
	}
	a := newAgent(t, compose("one"), "")
	a.write("stacks/app/app.conf", "file one\n")
	a.start()
	a.converged()
	has := func(path, want string) {
		t.Helper()
		if code, got := a.on.exec(t, a.name("web"), "cat", path); code != 0 || got != want {
			t.Errorf("%s: %d %q, wanted %q", path, code, got, want)
		}
	}
	has("/etc/inline.conf", "one")
	has("/etc/file.conf", "file one")
	// The image has a user that only it knows by name; files belong to whom the Compose file says.
	if got := a.on.owner(t, a.name("web"), "/etc/inline.conf"); got != "999:1500 0440" {
		t.Errorf("owner and mode: %s", got)
	}
	first := a.on.must(t, a.name("web"))
	a.change(func() { a.compose(compose("two")) })
	has("/etc/inline.conf", "two")
	second := a.on.must(t, a.name("web"))
	a.change(func() { a.write("stacks/app/app.conf", "file two\n") })
	has("/etc/file.conf", "file two")
	has("/etc/inline.conf", "two")
	third := a.on.must(t, a.name("web"))
	if first.ID == second.ID || second.ID == third.ID {
		t.Error("a changed config did not replace the container")
	}
	a.restart()
	a.converged()
	if !a.on.must(t, a.name("web")).same(third) {
		t.Error("a restart of the agent touched the container")
	}
}

// TestSubSecondGrace: stop_grace_period below a second is rounded up, not down to "kill".
func TestSubSecondGrace(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    stop_grace_period: 400ms
    healthcheck: {disable: true}
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	ends := a.ends()
	a.change(func() { a.compose(edited(compose, "1")) })
	eventually(t, "end of the old container", 10*time.Second, func() bool { return len(ends()) > 0 })
	if got := ends()[0]; got != "0" {
		t.Errorf("exit code %s: it was killed before it could end", got)
	}
}

// TestStartFirst: with order start-first the new container runs before the old one stops.
func TestStartFirst(t *testing.T) {
	compose := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    deploy: {update_config: {order: start-first}}
    healthcheck:
      test: ["CMD", "curl", "-fs", "http://localhost:8080/"]
      interval: 1s
      start_period: 1ms
`
	a := newAgent(t, compose, "")
	a.start()
	a.converged()
	old := a.on.must(t, a.name("web"))
	down := false
	a.compose(edited(compose, "1"))
	eventually(t, "replaced", time.Minute, func() bool {
		up := 0
		for _, name := range a.on.names(t, a.project) {
			if c := a.on.container(t, name); c != nil && c.State.Running {
				up++
			}
		}
		down = down || up == 0
		c := a.on.container(t, a.name("web"))
		return c != nil && c.ID != old.ID && c.State.Running
	})
	a.converged()
	if down {
		t.Error("for a moment nothing ran")
	}
	if got := a.on.names(t, a.project); len(got) != 1 {
		t.Errorf("containers: %v", got)
	}
}

// execs returns a function that lists the commands that were run in containers of the
// project in its life.
func (a *agent) execs() func() []string {
	since := time.Now().Add(-time.Minute) // of this test alone: the project is its own
	return func() []string {
		var out []string
		for _, e := range a.on.events(a.t, a.project, since) {
			if command, ok := strings.CutPrefix(e.Action, "exec_create: "); ok {
				out = append(out, command)
			}
		}
		return out
	}
}

// ends returns a function that lists the exit codes of containers since now.
func (a *agent) ends() func() []string {
	since := time.Now()
	return func() []string {
		var out []string
		for _, e := range a.on.events(a.t, a.project, since) {
			if e.Action == "die" {
				out = append(out, e.Actor.Attributes["exitCode"])
			}
		}
		return out
	}
}
