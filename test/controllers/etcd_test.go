package controllers_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// member runs one member of a cluster until SIGTERM: its folder, its name, all names.
func member(args []string) int {
	dir, name, names := args[0], args[1], args[2:]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	config := embed.NewConfig()
	config.Name, config.Dir = name, filepath.Join(dir, name)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	config.ListenClientUrls = []url.URL{clientURL(dir, name)}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = []url.URL{peerURL(name)}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.TickMs, config.ElectionMs = 50, 500
	var all []string
	for _, each := range names {
		peer := peerURL(each)
		all = append(all, each+"="+peer.String())
	}
	config.InitialCluster = strings.Join(all, ",")
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer etcd.Close()
	select {
	case <-ctx.Done():
		return 0
	case err := <-etcd.Err():
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
}

func clientURL(dir, name string) url.URL {
	return url.URL{Scheme: "unix", Path: filepath.Join(dir, name+".sock")}
}

// peerURL is a socket in the working folder, which is the cluster's.
func peerURL(name string) url.URL { return url.URL{Scheme: "unix", Host: name + ":0"} }

// etcd is a cluster of three members.
type etcd struct {
	t       testing.TB
	dir     string
	names   []string
	members map[string]*process
	client  *clientv3.Client
}

func newEtcd(t testing.TB) *etcd {
	t.Helper()
	dir, err := os.MkdirTemp("", "e") //nolint:usetesting // paths of sockets are short
	must(t, err)
	e := &etcd{t: t, dir: dir, names: []string{"m1", "m2", "m3"}, members: map[string]*process{}}
	for _, name := range e.names {
		e.members[name] = &process{t: t, make: func() *exec.Cmd {
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], append([]string{dir, name}, e.names...)...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), asMember+"=1")
			return cmd
		}}
		e.members[name].start()
	}
	e.client, err = clientv3.New(clientv3.Config{Endpoints: e.endpoints(), Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() {
		_ = e.client.Close()
		for name, p := range e.members {
			p.kill()
			if t.Failed() {
				t.Logf("member %s says:\n%s", name, p.log.tail())
			}
		}
		_ = os.RemoveAll(dir)
	})
	await(t, "etcd answers", e.answers)
	return e
}

func (e *etcd) endpoints() []string {
	var out []string
	for _, name := range e.names {
		client := clientURL(e.dir, name)
		out = append(out, client.String())
	}
	return out
}

func (e *etcd) answers() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.t.Context()), time.Second)
	defer cancel()
	_, err := e.client.Get(ctx, "x")
	return err == nil
}

// leader is the member that leads.
func (e *etcd) leader() string {
	e.t.Helper()
	leader := ""
	await(e.t, "etcd has a leader", func() bool {
		for _, name := range e.names {
			ctx, cancel := context.WithTimeout(e.t.Context(), time.Second)
			client := clientURL(e.dir, name)
			status, err := e.client.Status(ctx, client.String())
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				leader = name
				return true
			}
		}
		return false
	})
	return leader
}
