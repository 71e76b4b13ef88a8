package doctor_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ktrdr.io/fleet/pkg/agent/doctor"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// report runs the checks and returns the rows.
func report(t *testing.T, cfg doctor.Config, req doctor.Request) []api.Check {
	t.Helper()
	var rows []api.Check
	doctor.Run(t.Context(), cfg, req, func(c api.Check) {
		if c.Name == "" || c.Message == "" || !slices.Contains(api.CheckResults(), c.Result) {
			t.Errorf("a row says nothing: %+v", c)
		}
		if (c.Result == api.CheckWarn || c.Result == api.CheckFail) && c.Fix == "" {
			t.Errorf("nobody knows what to do about %+v", c)
		}
		rows = append(rows, c)
	})
	return rows
}

// find returns the row of a name and subject.
func find(t *testing.T, rows []api.Check, name, subject string) api.Check {
	t.Helper()
	for _, r := range rows {
		if r.Name == name && r.Subject == subject {
			return r
		}
	}
	t.Fatalf("no row %s %q in %+v", name, subject, rows)
	return api.Check{}
}

func wants(t *testing.T, c api.Check, result api.CheckResult, words ...string) {
	t.Helper()
	if c.Result != result {
		t.Errorf("%s %s: %s, want %s: %s", c.Name, c.Subject, c.Result, result, c.Message)
	}
	for _, w := range words {
		if !strings.Contains(c.Message+" "+c.Fix, w) {
			t.Errorf("%s %s does not speak of %q: %s; %s", c.Name, c.Subject, w, c.Message, c.Fix)
		}
	}
}

// told is an engine that tells what it was given.
type told struct {
	facts  engine.Facts
	err    error
	images map[string]*api.Image
}

func (e told) Facts(context.Context) (engine.Facts, error) { return e.facts, e.err }

func (e told) InspectImage(_ context.Context, ref, _ string) (*api.Image, error) {
	if img := e.images[ref]; img != nil {
		return img, nil
	}
	return nil, engine.ErrNotFound
}

func good() engine.Facts {
	return engine.Facts{
		Engine: api.Engine{Reachable: true, Version: "28.5.2", APIVersion: "1.51", Driver: "overlay2"}, MinimumAPI: "1.41",
		OperatingSystem: "Debian GNU/Linux 12", Kernel: "6.1", CgroupVersion: "2", CgroupDriver: "systemd", MemoryLimit: true, CPULimit: true,
		LiveRestore: true, Clock: time.Now(), Asked: time.Now(), CPUs: 4, Memory: 8 << 30,
	}
}

func TestEngine(t *testing.T) {
	rows := report(t, doctor.Config{Engine: told{facts: good()}}, doctor.Request{})
	for _, name := range []string{"engine-reachable", "engine-version", "cgroups", "limits", "live-restore", "swarm", "engine-clock", "storage-driver"} {
		wants(t, find(t, rows, name, ""), api.CheckOK)
	}
	for name, c := range map[string]struct {
		spoil  func(*engine.Facts)
		result api.CheckResult
		words  []string
	}{
		"engine-version": {func(f *engine.Facts) { f.Engine.Version = "19.03.8" }, api.CheckWarn, []string{"19.03.8", "upgrade"}},
		"storage-driver": {func(f *engine.Facts) { f.Engine.Driver = "vfs" }, api.CheckWarn, []string{"vfs", "overlay2"}},
		"cgroups":        {func(f *engine.Facts) { f.CgroupDriver = "none" }, api.CheckFail, []string{"nesting"}},
		"limits":         {func(f *engine.Facts) { f.CPULimit = false }, api.CheckWarn, []string{"CPU"}},
		"live-restore":   {func(f *engine.Facts) { f.LiveRestore = false }, api.CheckWarn, []string{"daemon.json"}},
		"swarm":          {func(f *engine.Facts) { f.Swarm = true }, api.CheckWarn, []string{"leave"}},
		"engine-clock":   {func(f *engine.Facts) { f.Clock = f.Clock.Add(-time.Hour) }, api.CheckFail, []string{"1h0m"}},
		"engine-warning": {func(f *engine.Facts) { f.Warnings = []string{"No swap limit support"} }, api.CheckWarn, []string{"swap"}},
	} {
		facts := good()
		c.spoil(&facts)
		wants(t, find(t, report(t, doctor.Config{Engine: told{facts: facts}}, doctor.Request{}), name, ""), c.result, c.words...)
	}
	rows = report(t, doctor.Config{Engine: told{err: errors.New("connection refused")}}, doctor.Request{})
	wants(t, find(t, rows, "engine-reachable", ""), api.CheckFail, "connection refused", "systemctl start docker")
}

// state is a desired state of one replica for each spec.
func state(specs ...api.ContainerSpec) *api.Desired {
	stack := api.Stack{Name: "core", Project: "core"}
	for i, spec := range specs {
		name := "svc" + strconv.Itoa(i+1)
		stack.Services = append(stack.Services, api.Service{Name: name, Replicas: []api.Replica{{Number: 1, Name: "core-" + name + "-1", Spec: spec}}})
	}
	return &api.Desired{Node: "a", Stacks: []api.Stack{stack}}
}

// names answers with the addresses that it knows, and else that there is no such name.
func names(t *testing.T, known map[string][4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go serveDNS(conn, known)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func serveDNS(conn net.PacketConn, known map[string][4]byte) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
		q := m.Questions[0]
		if address, ok := known[strings.TrimSuffix(q.Name.String(), ".")]; ok {
			m.RCode = dnsmessage.RCodeSuccess
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: address},
				}}
			}
		}
		if out, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(out, from)
		}
	}
}

// TestNames: every host in environments, commands and images is looked up, and what names
// a port is knocked at; what containers reach each other by is not.
func TestNames(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close() //nolint:errcheck // ends with the test
	_, port, _ := net.SplitHostPort(open.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		t.Fatal(err)
	}
	_, nobody, _ := net.SplitHostPort(closed.Addr().String())
	_ = closed.Close()
	ref := api.Placeholder("op://v/i/db_password")
	d := state(api.ContainerSpec{
		Image: "registry.lab.test:5000/app:1", ExtraHosts: []string{"gateway.lab.test:10.0.0.1"},
		Env: []string{
			"API=http://backend.lab.test:" + port + "/api", "GONE=http://gone.lab.test", "DB=postgres://u:" + ref + "@svc2/ktrdr", "OTLP_HOST=trace.lab.test",
			"DEAD=http://backend.lab.test:" + nobody, "VERSION=1.2.3", "FILE=prometheus.yml", "GW=http://gateway.lab.test:1", "IP=http://10.1.2.3:80", "PW=" + ref,
		},
		Command: []string{"--push", "https://push.lab.test:" + port},
	}, api.ContainerSpec{Image: "postgres:16"})
	here := [4]byte{127, 0, 0, 1}
	rows := report(t, doctor.Config{Resolver: names(t, map[string][4]byte{"backend.lab.test": here, "push.lab.test": here, "trace.lab.test": here})}, doctor.Request{Desired: d})
	wants(t, find(t, rows, "dns", "backend.lab.test"), api.CheckOK, "127.0.0.1")
	wants(t, find(t, rows, "reachable", "backend.lab.test:"+port), api.CheckOK)
	wants(t, find(t, rows, "reachable", "backend.lab.test:"+nobody), api.CheckWarn, "nothing listens")
	wants(t, find(t, rows, "reachable", "push.lab.test:"+port), api.CheckOK)
	wants(t, find(t, rows, "dns", "trace.lab.test"), api.CheckOK)
	wants(t, find(t, rows, "dns", "gone.lab.test"), api.CheckFail, "core/svc1")
	wants(t, find(t, rows, "dns", "registry.lab.test"), api.CheckFail, "registry.lab.test:5000/app:1")
	wants(t, find(t, rows, "dns", "registry-1.docker.io"), api.CheckFail, "postgres:16")
	for _, r := range rows {
		if slices.Contains([]string{"svc2", "gateway.lab.test", "prometheus.yml", "10.1.2.3", "1.2.3"}, r.Subject) || strings.Contains(r.Message+r.Subject, "db_password") {
			t.Errorf("looked up what is no name of the network: %+v", r)
		}
	}
}

func TestPorts(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close() //nolint:errcheck // ends with the test
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	spec := api.ContainerSpec{Image: "x", Ports: []api.Port{{HostIP: "127.0.0.1", Published: port, Target: 80, Protocol: "tcp"}}}
	holder := func(name string) func() map[string]*api.Container {
		return func() map[string]*api.Container {
			return map[string]*api.Container{name: {Name: name, State: api.StateRunning, Spec: spec}}
		}
	}
	resolver := names(t, nil)
	req := doctor.Request{Desired: state(spec)}
	wants(t, find(t, report(t, doctor.Config{Resolver: resolver}, req), "ports", port+"/tcp"), api.CheckFail, "outside of containers", "ss -tnlp")
	wants(t, find(t, report(t, doctor.Config{Resolver: resolver, Containers: holder("other")}, req), "ports", port+"/tcp"), api.CheckFail, "container other")
	wants(t, find(t, report(t, doctor.Config{Resolver: resolver, Containers: holder("core-svc1-1")}, req), "ports", ""), api.CheckOK, "1 published")
	_ = busy.Close()
	wants(t, find(t, report(t, doctor.Config{Resolver: resolver}, req), "ports", ""), api.CheckOK, "1 published")
}

func TestNode(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "no.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	cfg := doctor.Config{
		Folders:      []doctor.Folder{{Path: filepath.Join(dir, "not", "there", "yet"), Purpose: "state"}, {Path: dir, Purpose: "secrets", Memory: true}},
		Certificates: []doctor.Certificate{{Path: bad, Purpose: "git"}},
		PolicyStatus: func() api.PolicyStatus { return api.PolicyStatus{} },
		Source: func() (time.Time, *api.Condition) {
			return now, &api.Condition{Reason: api.ReasonSourceFailed, Message: "no route"}
		},
		Delivery: func() error { return errors.New("no memory") },
		Mounts: func(_ context.Context, m api.RequiredMount) api.MountState {
			return api.MountState{Reason: api.ReasonMountMissing, Message: m.Path + " is not mounted"}
		},
		Secrets: func(context.Context, *api.Desired) api.SecretsStatus {
			return api.SecretsStatus{
				Providers: []api.ProviderState{{Name: "connect", LastAttempt: now, Reachable: true, Schemes: []string{"op"}, Token: &api.TokenState{Expires: now.Add(60 * time.Hour)}}},
				Secrets: []api.SecretStatus{
					{Reference: "op://v/i/good", Phase: api.SecretFresh},
					{Reference: "op://v/i/gone", Phase: api.SecretMissing, Message: "no such field", Users: []api.SecretUser{{Stack: "core", Service: "db"}}},
				},
			}
		},
	}
	d := state(api.ContainerSpec{Image: "x"})
	d.Stacks[0].Mounts = []api.RequiredMount{{Path: "/mnt/data"}}
	cfg.Resolver = names(t, nil)
	rows := report(t, cfg, doctor.Request{Desired: d})
	wants(t, find(t, rows, "disk", filepath.Join(dir, "not", "there", "yet")), find(t, rows, "disk", filepath.Join(dir, "not", "there", "yet")).Result, "free")
	wants(t, find(t, rows, "disk", dir), api.CheckFail, "a disk, not memory")
	wants(t, find(t, rows, "certificate", bad), api.CheckFail, "no certificate")
	wants(t, find(t, rows, "policy", ""), api.CheckWarn, "policyFile")
	wants(t, find(t, rows, "source", ""), api.CheckFail, "no route")
	wants(t, find(t, rows, "delivery", ""), api.CheckFail, "no memory", "prepare")
	wants(t, find(t, rows, "mount", "/mnt/data"), api.CheckFail, "is not mounted")
	wants(t, find(t, rows, "secret-provider", "connect"), api.CheckOK)
	wants(t, find(t, rows, "secret-token", "connect"), api.CheckWarn, "2 days")
	wants(t, find(t, rows, "secret", "op://v/i/gone"), api.CheckFail, "no such field", "core/db")
	wants(t, find(t, rows, "secret", ""), api.CheckOK, "1 references")
}
