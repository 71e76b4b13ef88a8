package fleet_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// controllerAddress is where all find the controller.
const controllerAddress = "controller.lab:8443"

// identity is a copy of the node's key and certificate, as a thief has it.
func (n *node) identity(t *testing.T) *pki.Credentials {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(n.Path("/var/lib/ktrdr/credentials/identity.pem"), filepath.Join(dir, "identity.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := pki.OpenKeyStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// dialAs connects to the controller with somebody's certificate.
func dialAs(t *testing.T, who *pki.Credentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+controllerAddress, grpc.WithTransportCredentials(credentials.NewTLS(wire.ClientTLS(who))),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return world.network.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// loot is what somebody gets who connects as an agent.
type loot struct {
	paths    []string
	contents map[string]string
	revision string
}

// connectAs opens an agent's stream and returns the first slice.
func connectAs(t *testing.T, who *pki.Credentials) (*loot, error) {
	t.Helper()
	ctx, cancel := contextFor(limit)
	defer cancel()
	stream, err := ktrdrv1.NewAgentServiceClient(dialAs(t, who)).Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(hello()); err != nil && !errors.Is(err, context.Canceled) {
		_, err = stream.Recv() // says why
		return nil, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		slice := m.GetSlice()
		if slice == nil {
			continue
		}
		got := &loot{contents: map[string]string{}, revision: slice.GetRevision()}
		for _, f := range slice.GetFiles() {
			got.paths = append(got.paths, f.GetPath())
		}
		for _, c := range slice.GetContents() {
			got.contents[string(c.GetSha256())] += string(c.GetContent())
		}
		return got, nil
	}
}

func hello() *ktrdrv1.AgentMessage {
	return &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Hello{Hello: &ktrdrv1.Hello{Version: version, Platform: "linux/amd64", RunId: "stolen"}}}
}

// stolenCalls are what a thief tries next, with how each went.
func stolenCalls(t *testing.T, who *pki.Credentials, got *loot) map[string]error {
	t.Helper()
	ctx, cancel := contextFor(limit)
	defer cancel()
	conn := dialAs(t, who)
	tries := map[string]error{}
	_, tries["see the fleet"] = ktrdrv1.NewFleetServiceClient(conn).GetFleet(ctx, &ktrdrv1.GetFleetRequest{})
	_, tries["list nodes"] = ktrdrv1.NewNodeServiceClient(conn).ListNodes(ctx, &ktrdrv1.ListNodesRequest{})
	_, tries["make a join token"] = ktrdrv1.NewNodeServiceClient(conn).CreateJoinToken(ctx, &ktrdrv1.CreateJoinTokenRequest{Node: "b"})
	_, tries["scale"] = ktrdrv1.NewFleetServiceClient(conn).Scale(ctx, &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b", Count: 3})
	tries["fetch a file of b"] = fetchForeign(ctx, conn, got.revision)
	return tries
}

// fetchForeign asks for the contents of b's file by their digest, which everybody knows who
// knows the repository.
func fetchForeign(ctx context.Context, conn *grpc.ClientConn, revision string) error {
	text, err := os.ReadFile(filepath.Join(world.fleet.karl.clone, "nodes/b.yaml"))
	if err != nil {
		return nil //nolint:nilerr // told as a success, which it must not be
	}
	sum := sha256.Sum256(text)
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(hello()); err != nil {
		return err
	}
	ask := &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: &ktrdrv1.FileRequest{Revision: revision, Sha256: [][]byte{sum[:]}}}}
	for asked := false; ; {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetSlice() != nil && !asked {
			asked = true
			if err := stream.Send(ask); err != nil {
				return err
			}
		}
		for _, c := range m.GetFiles().GetChunks() {
			if slices.Equal(c.GetSha256(), sum[:]) {
				return nil
			}
		}
		if m.GetFiles().GetLast() {
			return fmt.Errorf("the answer has %d files that are gone, and no content", len(m.GetFiles().GetGone()))
		}
	}
}

// refusesCaller tells a refusal of who calls from a failure of the connection.
func refusesCaller(err error) bool {
	code := status.Code(err)
	return code == codes.Unauthenticated || code == codes.PermissionDenied
}

// readCredentials takes token and authority out of what `ktrdrctl operator add` wrote.
func readCredentials(t *testing.T, path string) (token, authority string) {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // a file of the test
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Contexts []struct {
			Token, Authority string
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Contexts) != 1 {
		t.Fatalf("%s: %d contexts, %v", path, len(file.Contexts), err)
	}
	pem, err := base64.StdEncoding.DecodeString(file.Contexts[0].Authority)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(file.Contexts[0].Token) + "\n", string(pem)
}
