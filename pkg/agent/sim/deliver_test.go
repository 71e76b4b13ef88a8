package sim_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

const secretRef = "op://v/i/f"

// ram is the host's memory that secrets are delivered in: it outlives the agent, and ends
// with the host. Its paths exist for the engine once they are written.
type ram struct {
	n *node

	mu      sync.Mutex
	next    int
	making  map[string]bool
	folders map[string]deliver.Content
	offered map[string][2]string
}

func newRAM(n *node) *ram {
	return &ram{n: n, making: map[string]bool{}, folders: map[string]deliver.Content{}, offered: map[string][2]string{}}
}

func (r *ram) New(container string) (folder string, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	folder = fmt.Sprintf("%s.%016x", container, r.next)
	r.making[folder] = true
	r.n.fake.RemovePath(valuesOf(folder))
	return folder, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.making, folder)
	}
}

func valuesOf(folder string) string { return "/run/secrets/" + folder + "/values" }

func (*ram) Paths(folder string, files int) (deliver.Paths, error) {
	p := deliver.Paths{Exec: "/exec", Values: valuesOf(folder)}
	for range files {
		p.Files = append(p.Files, valuesOf(folder))
	}
	return p, nil
}

// Write has the moments in which an agent can die: before it, half-way, and after it. As the
// real one does, it leaves a folder alone that holds the content already.
func (r *ram) Write(folder string, content deliver.Content) error {
	return r.call("Write", folder, func() error {
		if content.Digest != "" && r.Held(folder) == content.Digest {
			return nil
		}
		r.mu.Lock()
		delete(r.folders, folder) // what is half written does not count
		r.mu.Unlock()
		if err := r.n.failed("half-way", "Write", folder); err != nil {
			return err
		}
		r.mu.Lock()
		r.folders[folder] = content
		r.mu.Unlock()
		r.n.fake.MakePath(valuesOf(folder))
		return nil
	})
}

func (r *ram) call(method, folder string, effect func() error) error {
	if err := r.n.failed("before", method, folder); err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	return r.n.failed("after", method, folder)
}

// Offer and Withdraw count what is shown; nothing may stay.
func (r *ram) Offer(folder, old, fresh string) error {
	return r.call("Offer", folder, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.offered[folder] = [2]string{old, fresh}
		return nil
	})
}

func (r *ram) Withdraw(folder string) error {
	return r.call("Withdraw", folder, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.offered, folder)
		return nil
	})
}

func (r *ram) Texts(folder string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.folders[folder].Values))
}

func (r *ram) Held(folder string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.folders[folder].Digest
}

func (r *ram) Remove(folder string) error {
	return r.call("RemoveFolder", folder, func() error {
		r.mu.Lock()
		delete(r.folders, folder)
		delete(r.offered, folder) // they are in it
		r.mu.Unlock()
		r.n.fake.RemovePath(valuesOf(folder))
		return nil
	})
}

// keepHouse is what an agent does by the way: folders that no container binds go away.
func (r *ram) keepHouse() {
	bound := map[string]bool{}
	for _, c := range r.n.fake.Truth().Containers {
		bound[c.Labels[api.LabelSecretFolder]] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	unbound := func(folder string) bool { return !bound[folder] }
	maps.DeleteFunc(r.folders, func(folder string, _ deliver.Content) bool { return unbound(folder) })
	maps.DeleteFunc(r.offered, func(folder string, _ [2]string) bool { return unbound(folder) })
}

// boot is a new agent: it makes nothing, and finds what is complete.
func (r *ram) boot() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.making)
	held := map[string]string{}
	for folder, content := range r.folders {
		held[folder] = content.Digest
	}
	return held
}

// lose is a reboot of the host.
func (r *ram) lose() {
	r.mu.Lock()
	folders := slices.Collect(maps.Keys(r.folders))
	clear(r.folders)
	clear(r.offered)
	r.mu.Unlock()
	for _, folder := range folders {
		r.n.fake.RemovePath(valuesOf(folder))
	}
}

// verifyDelivery compares containers and memory: every container with secrets reads the
// present value from a folder of its own, and no value stands in the engine.
func (n *node) verifyDelivery(d *api.Desired, value string) error {
	users, wanted := map[string]string{}, 0
	for _, s := range d.Stacks {
		for _, svc := range s.Services {
			for _, r := range svc.Replicas {
				wanted += len(r.SecretRefs)
			}
		}
	}
	for _, c := range n.fake.Truth().Containers {
		if text := fmt.Sprintf("%+v", c); strings.Contains(text, value) {
			return fmt.Errorf("container %s shows its secret", c.Name)
		}
		if len(api.References(strings.Join(c.Spec.Env, " "))) == 0 {
			continue
		}
		folder := plan.Folder(c)
		n.ram.mu.Lock()
		content := n.ram.folders[folder]
		n.ram.mu.Unlock()
		switch {
		case folder == "" || !plan.HasExec(c):
			return fmt.Errorf("container %s has references and nobody who fills them in", c.Name)
		case users[folder] != "":
			return fmt.Errorf("containers %s and %s share folder %s", c.Name, users[folder], folder)
		case content.Values[secretRef] != value:
			return fmt.Errorf("container %s reads %q, wanted %q", c.Name, content.Values[secretRef], value)
		}
		users[folder] = c.Name
	}
	if len(users) == 0 && wanted > 0 {
		return errors.New("no container has a secret")
	}
	return nil
}

// TestReboot: memory is empty after a reboot and the engine can't start what reads from
// it. The agent writes the folders, then starts; without values it says what it waits for,
// and runs what needs none.
func TestReboot(t *testing.T) {
	for _, up := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, 1)
			d := chain("r1", "img:1", "one")
			n.start(d)
			if err := n.settle(patience, "s"); err != nil {
				t.Fatal(err)
			}
			before := n.id("p-api-1")
			n.stop()
			n.ram.lose()
			if !up {
				n.vault.set("")
			}
			n.fake.Reboot()
			n.start(d)
			defer n.stop()
			if !up {
				if err := n.settle(time.Minute, "s"); err == nil {
					t.Fatal("converged without values")
				}
				if text := n.report.explain([]string{"s"}); !strings.Contains(text, "SecretMissing") || !strings.Contains(text, secretRef) {
					t.Errorf("does not say what it waits for: %s", text)
				}
				if !n.running("p-db-1") || n.running("p-api-1") {
					t.Error("db needs no secrets and has to run; api can't")
				}
				n.vault.set("value-2")
				n.loop.Ring("")
				time.Sleep(time.Millisecond)
			}
			if err := n.settle(patience, "s"); err != nil {
				t.Fatal(err)
			}
			if up && n.id("p-api-1") != before {
				t.Error("the container was replaced, not started")
			}
			if err := n.verify(d); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProviderDown: an agent that starts while the provider is down keeps up what reads
// from a folder that is still there, and replaces nothing.
func TestProviderDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		d := chain("r1", "img:1", "one")
		n.start(d)
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		before := n.id("p-api-1")
		n.stop()
		n.vault.set("")
		n.start(d)
		defer n.stop()
		for _, damage := range []func(name string) error{
			func(name string) error { return n.fake.Hand().End(name, 1) }, // the engine starts it
			func(name string) error { return n.fake.Hand().Kill(name) },   // the agent has to
		} {
			if err := damage("p-api-1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if !n.running("p-api-1") || n.id("p-api-1") != before {
				t.Errorf("api does not run again:\n%s", n.report.explain([]string{"s"}))
			}
		}
		if err := n.fake.Hand().Remove("p-api-1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.id("p-api-1") != "" {
			t.Error("a container was made without values")
		}
		n.vault.set("value-2")
		n.loop.Ring("")
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		if err := n.verify(d); err != nil {
			t.Error(err)
		}
	})
}

// TestRotation: a new value replaces the containers that use it, once.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		d := chain("r1", "img:1", "one")
		n.start(d)
		defer n.stop()
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		api, db := n.id("p-api-1"), n.id("p-db-1")
		n.fake.ResetCalls()
		n.vault.set("value-2")
		n.loop.Ring("")
		time.Sleep(time.Millisecond)
		if err := n.settle(patience, "s"); err != nil {
			t.Fatal(err)
		}
		if n.id("p-api-1") == api || n.id("p-db-1") != db {
			t.Error("api uses the secret, db does not")
		}
		if err := n.verify(d); err != nil {
			t.Error(err)
		}
		if held := n.ram.boot(); len(held) != 1 {
			t.Errorf("folders: %v", held)
		}
	})
}

// TestDeliveryChanged: `delivery: env` and back replaces what uses secrets.
func TestDeliveryChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		d := chain("r1", "img:1", "one")
		n.start(d)
		defer n.stop()
		for _, mode := range []string{"", api.DeliveryEnv, ""} {
			next := chain("r1", "img:1", "one")
			next.Stacks[0].Delivery = mode
			n.loop.SetDesired(next)
			time.Sleep(time.Millisecond)
			if err := n.settle(patience, "s"); err != nil {
				t.Fatal(err)
			}
			err := n.verifyDelivery(next, n.vault.value)
			if shown := err != nil && strings.Contains(err.Error(), "shows its secret"); shown != (mode == api.DeliveryEnv) {
				t.Errorf("delivery %q: %v", mode, err)
			}
		}
	})
}

// id is the id of a container by name; empty when it does not exist.
func (n *node) id(name string) string {
	for _, c := range n.fake.Truth().Containers {
		if c.Name == name {
			return c.ID
		}
	}
	return ""
}

func (n *node) running(name string) bool {
	for _, c := range n.fake.Truth().Containers {
		if c.Name == name {
			return c.State == api.StateRunning
		}
	}
	return false
}
