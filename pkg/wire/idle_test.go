package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

const (
	idleTarget = "WIRE_TEST_IDLE_TARGET"
	idleKeys   = "WIRE_TEST_IDLE_KEYS"
	idleCount  = "WIRE_TEST_IDLE_COUNT"
	// maxIdle is what an idle agent may cost the controller, in bytes.
	maxIdle = 100 << 10
)

// TestIdleConnectionsAreCheap keeps connections with client certificates and an open stream
// each, from another process, and looks at what this one needs for them.
func TestIdleConnectionsAreCheap(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the product's")
	}
	perConn := idleMemory(t, 300)
	t.Logf("%d bytes for each idle connection", perConn)
	if perConn > maxIdle {
		t.Errorf("an idle connection needs %d bytes, more than %d", perConn, maxIdle)
	}
}

func BenchmarkIdleConnections(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(idleMemory(b, 1000))/1024, "kB/conn")
	}
}

func idleMemory(t testing.TB, count int) int64 {
	t.Helper()
	f := serve(t, wire.DefaultPortLimits())
	dir := t.TempDir() + "/keys"
	s, err := pki.OpenKeyStore(dir)
	must(t, err)
	csr, err := s.Request()
	must(t, err)
	issued, err := f.authority.IssueNode("b", csr)
	must(t, err)
	c, err := s.Install(pki.Grant{Kind: pki.Node, Name: "b", Chain: issued.Chain, Authorities: f.authority.BundleDER()})
	must(t, err)
	must(t, check(t, f.dial(t, wire.ClientTLS(c))))

	before := resident(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), idleTarget+"="+f.addr, idleKeys+"="+dir, idleCount+"="+strconv.Itoa(count))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("connect %d agents: %q, %v", count, line, err)
	}
	after := resident(t)
	must(t, stdin.Close())
	must(t, cmd.Wait())
	return (after - before) / int64(count)
}

// resident is the memory of this process that is in use or was not given back.
func resident(t testing.TB) int64 {
	t.Helper()
	debug.FreeOSMemory()
	if runtime.GOOS != "linux" {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	data, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	must(t, err)
	return pages * int64(os.Getpagesize())
}

// idleAgents is the other process: it keeps streams open until its input ends.
func idleAgents(target string) int {
	err := connectIdle(context.Background(), target)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func connectIdle(ctx context.Context, target string) error {
	count, err := strconv.Atoi(os.Getenv(idleCount))
	if err != nil {
		return err
	}
	s, err := pki.OpenKeyStore(os.Getenv(idleKeys))
	if err != nil {
		return err
	}
	c, err := s.Load()
	if err != nil {
		return err
	}
	var conns []*grpc.ClientConn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range count {
		conn, err := wire.Dial(wire.Client{Target: target, TLS: func() (*tls.Config, error) { return wire.ClientTLS(c), nil }})
		if err != nil {
			return err
		}
		conns = append(conns, conn)
		stream, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return nil
}
