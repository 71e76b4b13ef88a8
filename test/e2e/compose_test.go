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
	eventually(t, "the child shares the parent's network", time.Minute, together)
	before := a.on.must(t, a.name("parent"))
	a.change(func() { a.compose(edited(compose, "yes")) })
	if a.on.must(t, a.name("parent")).ID == before.ID {
		t.Fatal("the parent was not replaced")
	}
	eventually(t, "the child shares the network of the parent's successor", time.Minute, together)
	a.on.post(t, "/containers/"+a.name("parent")+"/restart?t=1", nil)
	eventually(t, "the child follows a restart of its parent", time.Minute, func() bool {
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
	eventually(t, "connected again", time.Minute, func() bool {
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
	events := a.on.hear(t, a.project)
	a.start()
	a.converged()
	eventually(t, "the first hook", time.Minute, func() bool { return len(events.execs()) == 1 })
	a.restart()
	a.converged()
	first := a.on.must(t, a.name("web"))
	during(t, "no hook after a restart of the agent", time.Second, func() bool { return len(events.execs()) == 1 })
	a.change(func() { a.compose(edited(compose, "1")) })
	if a.on.must(t, a.name("web")).ID == first.ID {
		t.Fatal("not replaced")
	}
	eventually(t, "both hooks", time.Minute, func() bool {
		got := strings.Join(events.execs(), "; ")
		return strings.Count(got, "echo started") == 2 && strings.Count(got, "echo stopping") == 1
	})
}
