package enginetest

import (
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

func networkChecks() []check {
	return []check{
		{"network", checkNetwork},
		{"endpoints", checkEndpoints},
		{"connect and disconnect", checkConnect},
		{"static addresses", checkStatic},
		{"network with endpoints", checkActiveEndpoints},
		{"network gone at start", checkNetworkGone},
		{"network recreated behind a stopped container", checkNetworkRecreated},
		{"network of another container", checkSharedNetwork},
		{"ports conflict at start", checkPorts},
	}
}

func checkNetwork(t *testing.T, s *Subject) {
	ctx := t.Context()
	id := s.network(t, "net", func(n *api.NetworkSpec) { n.Internal = true })
	n, err := s.InspectNetwork(ctx, id)
	require(t, err)
	equal(t, "id", n.ID, id)
	equal(t, "name", n.Name, s.Prefix+"net")
	equal(t, "driver", n.Driver, "bridge")
	equal(t, "internal", n.Spec.Internal, true)
	equal(t, "label", n.Labels[api.LabelStack], s.Prefix+"stack")
	equal(t, "id of what was made before", s.network(t, "net"), id)
	_, err = s.CreateNetwork(ctx, api.NetworkSpec{Name: s.Prefix + "net"}, map[string]string{api.LabelStack: "another"})
	requireError(t, err, engine.ErrConflict, api.ReasonForeign)
	require(t, s.RemoveNetwork(ctx, id))
	require(t, s.RemoveNetwork(ctx, id))
	_, err = s.InspectNetwork(ctx, id)
	requireError(t, err, engine.ErrNotFound, "")
}

func (s *Subject) endpoint(name string, aliases ...string) api.Endpoint {
	return api.Endpoint{Network: s.Prefix + name, Aliases: aliases}
}

func checkEndpoints(t *testing.T, s *Subject) {
	ids := map[string]string{"b": s.network(t, "b"), "a": s.network(t, "a")}
	r := s.request("web")
	r.Spec.Endpoints = []api.Endpoint{s.endpoint("b", "web", "www"), s.endpoint("a", "web")}
	id := s.create(t, r)
	check := func(when string) {
		t.Helper()
		c := s.inspect(t, id)
		equal(t, "networks "+when, len(c.Attached), 2)
		for name, networkID := range ids {
			equal(t, "name of the network "+when, c.Attached[networkID].Name, s.Prefix+name)
			equal(t, "alias "+when, slices.Contains(c.Attached[networkID].Aliases, "web"), true)
		}
		if got := c.Spec.Endpoints; len(got) != 2 || got[0].Network != s.Prefix+"b" || got[1].Network != s.Prefix+"a" {
			t.Errorf("endpoints read back %s are %v, want the primary one first", when, got)
		}
	}
	check("before the start")
	require(t, s.Start(t.Context(), id))
	check("after the start")
	equal(t, "has an address", s.inspect(t, id).Attached[ids["a"]].Address != "", true)
	require(t, s.Stop(t.Context(), engine.StopRequest{ID: id}))
	check("after the stop")
	equal(t, "has no address any more", s.inspect(t, id).Attached[ids["a"]].Address, "")
}

func checkConnect(t *testing.T, s *Subject) {
	ctx := t.Context()
	first, second := s.network(t, "first"), s.network(t, "second")
	r := s.request("web")
	r.Spec.Endpoints = []api.Endpoint{s.endpoint("first")}
	id := s.run(t, r)
	connect := engine.ConnectRequest{NetworkID: second, ContainerID: id, Endpoint: s.endpoint("second", "alias")}
	require(t, s.Connect(ctx, connect))
	c := s.inspect(t, id)
	equal(t, "alias", slices.Contains(c.Attached[second].Aliases, "alias"), true)
	equal(t, "has an address", c.Attached[second].Address != "", true)
	require(t, s.Connect(ctx, connect))
	require(t, s.Disconnect(ctx, second, id))
	require(t, s.Disconnect(ctx, second, id))
	c = s.inspect(t, id)
	_, attached := c.Attached[second]
	equal(t, "attached after disconnect", attached, false)
	equal(t, "still on the first", c.Attached[first].Name, s.Prefix+"first")
	equal(t, "still running", c.State, api.StateRunning)

	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.Connect(ctx, connect))
	equal(t, "attached while stopped", s.inspect(t, id).Attached[second].Name, s.Prefix+"second")
	require(t, s.Start(ctx, id))
	equal(t, "address after start", s.inspect(t, id).Attached[second].Address != "", true)

	connect.ContainerID = s.create(t, s.request("alone"))
	requireError(t, s.Connect(ctx, connect), engine.ErrInvalid, "")
}

func checkStatic(t *testing.T, s *Subject) {
	ctx := t.Context()
	network := s.network(t, "static", func(n *api.NetworkSpec) {
		n.IPAM = &api.IPAM{Config: []api.IPAMPool{{Subnet: s.Subnet}}}
	})
	address := strings.TrimSuffix(s.Subnet, "0/24") + "77"
	request := func(name string) engine.CreateRequest {
		r := s.request(name)
		ep := s.endpoint("static")
		ep.IPv4Address = address
		r.Spec.Endpoints = []api.Endpoint{ep}
		return r
	}
	first := s.run(t, request("one"))
	c := s.inspect(t, first)
	equal(t, "address in use", c.Attached[network].Address, address)
	equal(t, "address configured", c.Attached[network].IPv4, address)
	second := s.create(t, request("two"))
	if err := s.Start(ctx, second); err == nil {
		t.Error("two containers got one address")
	}
	require(t, s.Remove(ctx, first))
	require(t, s.Start(ctx, second))
	n, err := s.InspectNetwork(ctx, network)
	require(t, err)
	if n.Spec.IPAM == nil || len(n.Spec.IPAM.Config) != 1 || n.Spec.IPAM.Config[0].Subnet != s.Subnet {
		t.Errorf("subnet read back: %+v, want %s", n.Spec.IPAM, s.Subnet)
	}
}

func checkActiveEndpoints(t *testing.T, s *Subject) {
	ctx := t.Context()
	network := s.network(t, "net")
	r := s.request("web")
	r.Spec.Endpoints = []api.Endpoint{s.endpoint("net")}
	id := s.run(t, r)
	requireError(t, s.RemoveNetwork(ctx, network), engine.ErrConflict, "")
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.RemoveNetwork(ctx, network))
}

func checkNetworkGone(t *testing.T, s *Subject) {
	network := s.network(t, "net")
	r := s.request("web")
	r.Spec.Endpoints = []api.Endpoint{s.endpoint("net")}
	id := s.create(t, r)
	require(t, s.RemoveNetwork(t.Context(), network))
	requireError(t, s.Start(t.Context(), id), engine.ErrNotFound, "")
	c := s.inspect(t, id)
	equal(t, "state", c.State, api.StateCreated)
	equal(t, "says why", c.Error != "", true)
	equal(t, "attachments", len(c.Attached), 0)
	again := s.network(t, "net")
	require(t, s.Start(t.Context(), id))
	c = s.inspect(t, id)
	equal(t, "joined the network of that name", c.Attached[again].Name, s.Prefix+"net")
	equal(t, "error after success", c.Error, "")
}

func checkNetworkRecreated(t *testing.T, s *Subject) {
	ctx := t.Context()
	network := s.network(t, "net")
	r := s.request("web")
	r.Spec.Endpoints = []api.Endpoint{s.endpoint("net", "alias")}
	id := s.run(t, r)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.RemoveNetwork(ctx, network))
	again := s.network(t, "net")
	requireError(t, s.Start(ctx, id), engine.ErrNotFound, "")
	equal(t, "state", s.inspect(t, id).State, api.StateExited)
	require(t, s.Disconnect(ctx, network, id))
	require(t, s.Disconnect(ctx, s.Prefix+"net", id))
	require(t, s.Connect(ctx, engine.ConnectRequest{NetworkID: again, ContainerID: id, Endpoint: s.endpoint("net", "alias")}))
	require(t, s.Start(ctx, id))
	equal(t, "attached to the new network", s.inspect(t, id).Attached[again].Name, s.Prefix+"net")
}

func checkSharedNetwork(t *testing.T, s *Subject) {
	ctx := t.Context()
	parent := s.run(t, s.request("parent"))
	r := s.request("child")
	r.Spec.NetworkMode = "container:" + parent
	id := s.run(t, r)
	c := s.inspect(t, id)
	equal(t, "mode", c.Spec.NetworkMode, "container:"+parent)
	equal(t, "attachments of its own", len(c.Attached), 0)
	require(t, s.Stop(ctx, engine.StopRequest{ID: id}))
	require(t, s.Stop(ctx, engine.StopRequest{ID: parent}))
	requireError(t, s.Start(ctx, id), engine.ErrConflict, "")
}

func checkPorts(t *testing.T, s *Subject) {
	ctx := t.Context()
	request := func(name string) engine.CreateRequest {
		r := s.request(name)
		r.Spec.NetworkMode = "bridge"
		r.Spec.Ports = []api.Port{{HostIP: "127.0.0.1", Published: s.Port, Target: 80, Protocol: "tcp"}}
		return r
	}
	first, second := s.run(t, request("one")), s.create(t, request("two"))
	requireError(t, s.Start(ctx, second), engine.ErrConflict, api.ReasonPortConflict)
	c := s.inspect(t, second)
	equal(t, "state", c.State, api.StateCreated)
	equal(t, "says why", c.Error != "", true)
	if got := c.Spec.Ports; len(got) != 1 || got[0].Published != s.Port || got[0].Target != 80 {
		t.Errorf("ports read back: %+v", got)
	}
	require(t, s.Stop(ctx, engine.StopRequest{ID: first}))
	require(t, s.Start(ctx, second))
}
